//! `hostel cli`: the versions of the claude CLI that sessions can run.

mod install;

use std::path::PathBuf;
use std::process::ExitCode;

use claude::versions::{Installed, Versions};
use serde_json::{Value, json};
use server::config::Config;

use crate::failure::{Failure, Outcome};
use crate::output::{Output, line};
use crate::settings::Flags;
pub use install::ensure;

/// Installs, lists, chooses and removes versions of the claude CLI
#[derive(clap::Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    flags: Flags,
}

#[derive(clap::Subcommand)]
enum What {
    /// Installs a version: a number, a requirement such as `^2.1`, or the newest
    Install {
        /// Which; the newest that the settings allow when left out
        version: Option<String>,
    },
    /// Lists what is installed, newest first
    List,
    /// Makes an installed version the one that new sessions get
    Use {
        /// Which
        version: String,
    },
    /// Removes a version
    Rm {
        /// Which
        version: String,
        /// Even the one that new sessions get
        #[arg(long)]
        force: bool,
    },
}

/// Does what was asked.
pub async fn run(options: Options, output: Output) -> Outcome {
    let config = options.flags.load(&[])?;
    match options.what {
        What::Install { version } => {
            let installed = install::install(&config, version.as_deref()).await?;
            output.result(
                &view(&installed),
                &format!("claude {} is installed", installed.version),
            )
        }
        What::List => list(&config, output),
        What::Use { version } => {
            let number = number(&version)?;
            open(&config)?
                .use_version(&number)
                .map_err(|error| Failure::caused("cannot choose it", &error))?;
            output.result(
                &json!({"default": version}),
                &format!("new sessions get claude {version}"),
            )
        }
        What::Rm { version, force } => {
            let number = number(&version)?;
            open(&config)?
                .remove(&number, force)
                .map_err(|error| Failure::caused("cannot remove it", &error))?;
            output.result(
                &json!({"removed": version}),
                &format!("removed claude {version}"),
            )
        }
    }
}

/// What is installed, for reports.
pub fn installed(config: &Config) -> Result<Value, Failure> {
    Ok(Value::Array(listed(config)?.iter().map(view).collect()))
}

fn list(config: &Config, output: Output) -> Outcome {
    let installed = listed(config)?;
    if installed.is_empty() && !output.json {
        line("no version is installed; `hostel cli install` installs the newest")?;
    }
    for one in &installed {
        let mark = if one.default {
            "  (new sessions get it)"
        } else {
            ""
        };
        output.result(&view(one), &format!("{}{mark}", one.version))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(config: &Config) -> Result<Vec<Installed>, Failure> {
    if !directory(config).is_dir() {
        // Looking must not make a data directory.
        return Ok(Vec::new());
    }
    open(config)?
        .list()
        .map_err(|error| Failure::caused("cannot list the versions", &error))
}

fn open(config: &Config) -> Result<Versions, Failure> {
    Versions::open(directory(config))
        .map_err(|error| Failure::caused("cannot open the versions", &error))
}

/// Where the server looks for them too.
fn directory(config: &Config) -> PathBuf {
    config.data.join("cli")
}

fn number(text: &str) -> Result<semver::Version, Failure> {
    semver::Version::parse(text).map_err(|_| {
        Failure::usage(format!("{text} is not a version"))
            .next("`hostel cli list` says which there are")
    })
}

fn view(one: &Installed) -> Value {
    json!({"version": one.version.to_string(), "path": one.path, "bytes": one.size, "default": one.default})
}
