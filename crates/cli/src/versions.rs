//! `hostel cli`: the versions of the claude CLI that sessions can run.

mod canary;
mod install;
mod list;
mod upgrade;

use std::path::PathBuf;

use claude::versions::{Installed, Standing, Versions};
use serde_json::{Value, json};
use server::config::Config;

use crate::client::Address;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::settings::Flags;
pub use canary::clear;
pub use install::ensure;

/// Installs, upgrades, lists, chooses and removes versions of the claude CLI
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
    /// Installs the newest version that fits, tries it in a sandbox, and only then offers it
    Upgrade {
        /// Which; the newest that the settings allow, or of the same major number, when left out
        version: Option<String>,
    },
    /// Returns to the default before this one, and withdraws this one
    Rollback,
    /// Lists what is installed, newest first, and what each version serves
    List {
        #[command(flatten)]
        address: Address,
    },
    /// Makes an installed version the default, without a trial
    Use {
        /// Which
        version: String,
    },
    /// Removes a version
    Rm {
        /// Which
        version: String,
        /// Even the default, or one that runs in a sandbox
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
            output.result(&view(&installed), &there(&installed))
        }
        What::Upgrade { version } => upgrade::upgrade(&config, version.as_deref(), output).await,
        What::Rollback => upgrade::rollback(&config, output),
        What::List { address } => list::list(&config, &address, output).await,
        What::Use { version } => {
            let number = number(&version)?;
            open(&config)?
                .use_version(&number)
                .map_err(|error| Failure::caused("cannot choose it", &error))?;
            output.result(
                &json!({"default": version}),
                &format!("sessions get claude {version} from their next start on"),
            )
        }
        What::Rm { version, force } => {
            let number = number(&version)?;
            let used = list::sandboxes(&config).get(&number).copied().unwrap_or(0);
            if used > 0 && !force {
                return Err(
                    Failure::new(format!("claude {version} runs in {used} sandboxes"))
                        .next("they keep it until they end: wait, or remove it with --force"),
                );
            }
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

/// What an installation led to.
fn there(one: &Installed) -> String {
    let version = &one.version;
    let who = match one.standing {
        Standing::Offered => "",
        Standing::Unproved => {
            "; sessions that do not name it get it after `hostel cli upgrade` or `hostel cli use`"
        }
        Standing::Withdrawn => "; it was rolled back, `hostel cli use` offers it again",
    };
    format!("claude {version} is installed{who}")
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
    let canary = one.canary.as_ref().map(|canary| {
        json!({"passed": canary.passed(), "at": list::moment(canary), "from": canary.from,
            "steps": canary.steps, "failure": canary.failure})
    });
    json!({"version": one.version.to_string(), "path": one.path, "bytes": one.size,
        "default": one.default, "standing": one.standing, "canary": canary})
}
