//! `hostel config`: the settings as they are in effect, and what they may be.

use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::settings::Flags;

/// Shows the settings in effect, or their schema
#[derive(clap::Args)]
pub struct Options {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(clap::Subcommand)]
enum What {
    /// The JSON schema of the configuration file
    Schema,
}

/// Prints TOML (with `--json` JSON), or the schema. Secrets are never part of it.
pub fn run(options: &Options, output: Output) -> Outcome {
    if matches!(options.what, Some(What::Schema)) {
        let schema = server::config::schema();
        return output.result(&schema, &format!("{schema:#}"));
    }
    let config = options.flags.load(&[])?;
    let value = serde_json::to_value(&config)
        .map_err(|error| Failure::caused("cannot show the settings", &error))?;
    let text = toml::to_string_pretty(&config)
        .map_err(|error| Failure::caused("cannot show the settings", &error))?;
    output.result(&value, text.trim_end())
}
