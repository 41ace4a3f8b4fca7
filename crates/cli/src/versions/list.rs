//! `hostel cli list`: which versions there are, what their canaries found, and what each one serves.
//!
//! Versions and live sandboxes are read from the data directory. What agents and environments ask for
//! is known to the server alone, so that part is there when it runs and there is a key for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use api::time::Timestamp;
use chrono::DateTime;
use claude::versions::{Canary, Installed, Standing, Versions, Wanted};
use semver::{Version, VersionReq};
use serde_json::{Value, json};
use server::config::Config;

use super::{listed, open, view};
use crate::client::{Address, Client, key_of_environment};
use crate::failure::{Failure, Outcome};
use crate::output::{Output, line};

/// The largest page of agents.
const PAGE: &str = "100";

/// Who asks for a version.
#[derive(Debug, Clone, PartialEq)]
struct Asker {
    kind: &'static str,
    id: String,
    name: String,
    requirement: VersionReq,
}

/// Prints one version after the other, newest first.
pub async fn list(config: &Config, address: &Address, output: Output) -> Outcome {
    let installed = listed(config)?;
    if installed.is_empty() {
        if !output.json {
            line("no version is installed; `hostel cli install` installs the newest")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let used = sandboxes(config);
    let askers = match server(config, address).await? {
        Some(client) => Some(askers(&client).await?),
        None => None,
    };
    let served = served(&open(config)?, askers.as_deref().unwrap_or_default());
    for one in &installed {
        let sandboxes = used.get(&one.version).copied().unwrap_or(0);
        let serves: Vec<&Asker> = served
            .iter()
            .filter(|(version, _)| version.as_ref() == Some(&one.version))
            .map(|(_, asker)| *asker)
            .collect();
        let mut value = view(one);
        value["sandboxes"] = json!(sandboxes);
        value["serves"] = match askers {
            Some(_) => serves.iter().map(|asker| asker.view()).collect(),
            None => Value::Null,
        };
        output.result(&value, &text(one, sandboxes, &serves))?;
    }
    let unserved = served.iter().filter(|(version, _)| version.is_none());
    for (_, asker) in unserved.filter(|_| !output.json) {
        line(&format!("no version for {}", asker.text()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How many live sandboxes of this data directory run which version.
pub fn sandboxes(config: &Config) -> BTreeMap<Version, usize> {
    let mut used = BTreeMap::new();
    for shown in sandbox::oci::shown(&config.data) {
        let versions = shown.iter().filter_map(|path| {
            // …/cli/<version>/claude
            path.ends_with("claude")
                .then(|| path.parent())??
                .file_name()?
                .to_str()?
                .parse()
                .ok()
        });
        for version in versions {
            *used.entry(version).or_default() += 1;
        }
    }
    used
}

/// The server that was named, or the one that owns the data directory, where it can be asked.
async fn server(config: &Config, address: &Address) -> Result<Option<Client>, Failure> {
    let Some(key) = key_of_environment() else {
        return Ok(None);
    };
    if let Some(url) = &address.url {
        return Client::new(url, key).map(Some);
    }
    // The file holds the process number of its last owner.
    let owner = std::fs::read_to_string(config.data.join("lock")).unwrap_or_default();
    if !Path::new("/proc").join(owner.trim()).join("stat").exists() {
        return Ok(None);
    }
    let scheme = match config.tls.cert_file {
        Some(_) => "https",
        None => "http",
    };
    let client = Client::new(&format!("{scheme}://{}", config.listen), key)?;
    Ok(client.is_there().await.then_some(client))
}

/// The agents and environments that ask for a version of their own.
async fn askers(client: &Client) -> Result<Vec<Asker>, Failure> {
    let mut found = Vec::new();
    for (kind, path, place) in [
        ("agent", "/v1/agents", "/cli"),
        ("environment", "/v1/environments", "/config/hosting/cli"),
    ] {
        client
            .list(path, &[("limit", PAGE)], |object| {
                found.extend(asker(kind, &object, place));
                Ok(())
            })
            .await?;
    }
    Ok(found)
}

fn asker(kind: &'static str, object: &Value, place: &str) -> Option<Asker> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(Asker {
        kind,
        id: text(&object["id"]),
        name: text(&object["name"]),
        requirement: object.pointer(place)?.as_str()?.parse().ok()?,
    })
}

/// Which version each of them gets now.
fn served<'a>(versions: &Versions, askers: &'a [Asker]) -> Vec<(Option<Version>, &'a Asker)> {
    let got = |asker: &Asker| {
        let wanted = Wanted {
            agent: Some(&asker.requirement),
            ..Wanted::default()
        };
        versions.resolve(wanted).ok().map(|one| one.version)
    };
    askers.iter().map(|asker| (got(asker), asker)).collect()
}

impl Asker {
    fn view(&self) -> Value {
        json!({"type": self.kind, "id": self.id, "name": self.name, "cli": self.requirement.to_string()})
    }

    fn text(&self) -> String {
        format!(
            "{} {} {:?} ({})",
            self.kind, self.id, self.name, self.requirement
        )
    }
}

/// One version for people: a line, and what belongs to it below.
fn text(one: &Installed, sandboxes: usize, serves: &[&Asker]) -> String {
    let standing = match (one.default, one.standing) {
        (true, _) => "default",
        (_, Standing::Offered) => "offered",
        (_, Standing::Unproved) => "not offered",
        (_, Standing::Withdrawn) => "rolled back",
    };
    let canary = one
        .canary
        .as_ref()
        .map_or_else(|| "no canary".to_owned(), told);
    let mut lines = vec![format!(
        "{:<10} {standing:<12} {canary}",
        one.version.to_string()
    )];
    if sandboxes > 0 {
        let word = if sandboxes == 1 {
            "sandbox"
        } else {
            "sandboxes"
        };
        lines.push(format!("  runs in {sandboxes} {word}"));
    }
    lines.extend(
        serves
            .iter()
            .map(|asker| format!("  serves {}", asker.text())),
    );
    lines.join("\n")
}

fn told(canary: &Canary) -> String {
    let when = moment(canary);
    let from = canary
        .from
        .as_ref()
        .map_or_else(String::new, |from| format!(", after {from}"));
    match &canary.failure {
        None => format!("canary passed {when}{from}"),
        Some(failure) => format!("canary failed {when}{from}: {failure}"),
    }
}

/// When it ended, as the API writes moments.
pub fn moment(canary: &Canary) -> String {
    let seconds = i64::try_from(canary.at_s).unwrap_or_default();
    let at = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    Timestamp(at).to_string()
}
