//! `hostel cli upgrade`: a newer version, proved before any session gets it; `hostel cli rollback`:
//! the one before.
//!
//! What is decided is decided by one write at the end (`Versions::judge`), so an upgrade that dies at
//! any moment has installed a version that nobody is offered, or nothing.

use std::process::ExitCode;

use claude::versions::{Canary, Installed, Standing, Versions, exact, requirement};
use semver::VersionReq;
use serde_json::json;
use server::config::Config;

use super::canary::{self, Place};
use super::{install, open, view};
use crate::failure::{Failure, Outcome};
use crate::logs;
use crate::output::Output;
use crate::progress::Progress;

/// Installs, tries and offers the newest version that the words, or else the settings, allow.
pub async fn upgrade(config: &Config, words: Option<&str>, output: Output) -> Outcome {
    let mut config = config.clone();
    if config.log.level == "info" {
        // The canary's servers are not what the reader came for.
        config.log.level = "error".to_owned();
    }
    logs::begin(&config.log)?;
    let place = Place::claim(&config).await?;
    let result = upgraded(&config, &place, words, output).await;
    let left = place.leave(&config).await;
    let code = result?;
    left.map(|()| code)
}

/// Returns to the default before this one.
pub fn rollback(config: &Config, output: Output) -> Outcome {
    let (from, to) = open(config)?
        .rollback()
        .map_err(|error| Failure::caused("nothing was changed", &error))?;
    output.result(
        &json!({"withdrawn": from.to_string(), "default": to.to_string()}),
        &format!("sessions get claude {to} again; {from} is withdrawn until `hostel cli use {from}` or `hostel cli upgrade {from}`"),
    )
}

async fn upgraded(config: &Config, place: &Place, words: Option<&str>, output: Output) -> Outcome {
    let versions = open(config)?;
    let stored = |error| Failure::caused("cannot read the versions", &error);
    let wanted = wanted(config, words, &versions.list().map_err(stored)?)?;
    // From here on, what is installed is not offered just because it is there.
    versions.curate().map_err(stored)?;
    let installed = install::fetch(config, wanted.as_ref()).await?;
    let found = versions.list().map_err(stored)?;
    let Some(new) = found.iter().find(|one| one.version == installed.version) else {
        return Err(Failure::new(format!(
            "claude {} was removed meanwhile",
            installed.version
        )));
    };
    if let Some(why) = settled(new, wanted.as_ref().and_then(exact).is_some()) {
        return output.result(&view(new), &why);
    }
    let before = before(&found, new);
    let canary = proved(config, place, new, before).await?;
    judged(&versions, new, canary, output)
}

/// What to install: what was asked for, else what the settings allow, else the newest of the same
/// major number.
fn wanted(
    config: &Config,
    words: Option<&str>,
    found: &[Installed],
) -> Result<Option<VersionReq>, Failure> {
    if let Some(words) = words {
        return requirement(words).map_err(|error| install::no_version(words, &error));
    }
    if config.cli.version != VersionReq::STAR {
        return Ok(Some(config.cli.version.clone()));
    }
    let default = found.iter().find(|one| one.default);
    Ok(default.map(|one| {
        VersionReq::parse(&format!("^{}", one.version.major))
            .expect("a caret and a number are a requirement")
    }))
}

/// Why there is nothing to do, if there is nothing.
fn settled(new: &Installed, named: bool) -> Option<String> {
    let version = &new.version;
    match new.standing {
        Standing::Withdrawn if !named => Some(format!(
            "claude {version} is the newest, but was rolled back; `hostel cli upgrade {version}` tries it again"
        )),
        Standing::Offered if new.canary.as_ref().is_some_and(Canary::passed) => Some(format!(
            "claude {version} is the newest and is offered already"
        )),
        _ => None,
    }
}

/// Whose conversations the new version must be able to go on with: the default's, unless that is the
/// newer one; then those of the newest that is older.
fn before<'a>(found: &'a [Installed], new: &Installed) -> Option<&'a Installed> {
    let older = |one: &&Installed| one.version < new.version;
    let default = found.iter().filter(older).find(|one| one.default);
    let offered = |one: &&Installed| one.standing == Standing::Offered;
    default.or_else(|| found.iter().filter(older).find(offered))
}

async fn proved(
    config: &Config,
    place: &Place,
    new: &Installed,
    before: Option<&Installed>,
) -> Result<Canary, Failure> {
    let progress = Progress::begin(&format!("canary of claude {}", new.version));
    let canary = canary::run(config, place, new, before, &|step| progress.note(step)).await?;
    progress.end(if canary.passed() { "passed" } else { "failed" });
    Ok(canary)
}

fn judged(versions: &Versions, new: &Installed, canary: Canary, output: Output) -> Outcome {
    let version = &new.version;
    let failure = canary.failure.clone();
    let is_default = versions
        .judge(version, canary)
        .map_err(|error| Failure::caused("nothing was changed", &error))?;
    if let Some(failure) = failure {
        return Err(
            Failure::new(format!("claude {version} failed its canary: {failure}"))
                .next("sessions go on with what they had; `hostel cli list` keeps the report"),
        );
    }
    let who = if is_default {
        "sessions get it from their next start on"
    } else {
        "sessions whose agent or environment asks for it get it; the default is newer"
    };
    let value = json!({"version": version.to_string(), "default": is_default});
    output.result(&value, &format!("claude {version} is offered: {who}"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(version: &str, standing: Standing, default: bool) -> Installed {
        Installed {
            version: version.parse().unwrap(),
            path: "/claude".into(),
            size: 1,
            installed_at: std::time::UNIX_EPOCH,
            default,
            standing,
            canary: None,
        }
    }

    #[test]
    fn without_words_an_upgrade_stays_in_the_major_number() {
        let mut config = Config::default();
        let found = [one("2.1.0", Standing::Offered, true)];
        let text = |config: &Config, words, found: &[Installed]| {
            let wanted = wanted(config, words, found).unwrap();
            wanted.map(|wanted| wanted.to_string())
        };
        assert_eq!(text(&config, None, &found).as_deref(), Some("^2"));
        assert_eq!(text(&config, None, &[]), None);
        assert_eq!(text(&config, Some("latest"), &found), None);
        assert_eq!(
            text(&config, Some("3.0.1"), &found).as_deref(),
            Some("=3.0.1")
        );
        config.cli.version = "~2.1".parse().unwrap();
        assert_eq!(text(&config, None, &found).as_deref(), Some("~2.1"));
    }

    #[test]
    fn what_was_proved_or_rolled_back_is_left_alone() {
        let passed = Canary {
            at_s: 0,
            from: None,
            steps: Vec::new(),
            failure: None,
        };
        let mut new = one("2.1.0", Standing::Offered, true);
        assert_eq!(settled(&new, false), None);
        new.canary = Some(passed);
        assert!(settled(&new, true).is_some());
        new.standing = Standing::Withdrawn;
        assert!(settled(&new, false).unwrap().contains("rolled back"));
        assert_eq!(settled(&new, true), None);
    }

    #[test]
    fn the_conversations_of_the_default_are_gone_on_with() {
        let found = [
            one("2.2.0", Standing::Unproved, false),
            one("2.1.9", Standing::Offered, false),
            one("2.1.8", Standing::Offered, true),
            one("2.0.0", Standing::Unproved, false),
        ];
        let version = |at: usize| before(&found, &found[at]).map(|one| one.version.to_string());
        assert_eq!(version(0).as_deref(), Some("2.1.8"));
        assert_eq!(version(2), None);
        let newer = [
            one("2.2.0", Standing::Offered, true),
            one("2.1.0", Standing::Unproved, false),
            one("2.0.0", Standing::Offered, false),
        ];
        let old = before(&newer, &newer[1]).map(|one| one.version.to_string());
        assert_eq!(old.as_deref(), Some("2.0.0"));
    }
}
