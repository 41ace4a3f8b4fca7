//! `hostel keys`: the keys with which callers come in, over the server's own API with an admin key.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::client::{Address, Client};
use crate::failure::Outcome;
use crate::output::{Output, line, moment, table, text};

/// Makes, lists, rotates and revokes the keys of a server
#[derive(clap::Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    address: Address,
}

#[derive(clap::Subcommand)]
enum What {
    /// Lists them, newest first; of all workspaces with a key of the default one
    List {
        /// Only those of this workspace
        #[arg(long, value_name = "WORKSPACE")]
        workspace: Option<String>,
        /// Revoked ones too
        #[arg(long)]
        all: bool,
    },
    /// Makes a key and prints it, this once
    Create {
        /// Its name for people
        name: String,
        /// What it is for
        #[arg(long, value_parser = ["admin", "sessions", "read_only"], default_value = "sessions")]
        scope: String,
        /// Its workspace; that of the asking key when left out
        #[arg(long, value_name = "WORKSPACE")]
        workspace: Option<String>,
        /// The only environment that it opens
        #[arg(long, value_name = "ENVIRONMENT")]
        environment: Option<String>,
        /// From when on it opens nothing, as in 2027-01-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// Makes a new key for the same, prints it, this once, and ends the old one
    Rotate {
        /// The old key's id
        key: String,
        /// For how many seconds the old one stays good
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        grace: u64,
    },
    /// Ends a key at once
    Revoke {
        /// Its id
        key: String,
    },
}

/// Does what was asked.
pub async fn run(options: Options, output: Output) -> Outcome {
    let client = options.address.client()?;
    match options.what {
        What::List { workspace, all } => list(&client, workspace.as_deref(), all, output).await,
        What::Create {
            name,
            scope,
            workspace,
            environment,
            expires,
        } => {
            let body = json!({"name": name, "scope": scope, "workspace_id": workspace,
                "environment_id": environment, "expires_at": expires});
            made(&client.post("/v1/api_keys", &body).await?, output)
        }
        What::Rotate { key, grace } => {
            let path = format!("/v1/api_keys/{key}/rotate");
            let body = json!({"grace_seconds": grace});
            made(&client.post(&path, &body).await?, output)
        }
        What::Revoke { key } => {
            let path = format!("/v1/api_keys/{key}/revoke");
            let revoked = client.post(&path, &json!({})).await?;
            output.result(&revoked, &format!("revoked {key}"))
        }
    }
}

/// The key stands on a line of its own, so that a script can take the last one.
fn made(key: &Value, output: Output) -> Outcome {
    let (id, secret) = (text(&key["id"]), text(&key["key"]));
    output.result(
        key,
        &format!("made {id}; the key is shown this once:\n{secret}"),
    )
}

async fn list(client: &Client, workspace: Option<&str>, all: bool, output: Output) -> Outcome {
    let all = all.to_string();
    let mut query = vec![("include_revoked", all.as_str())];
    query.extend(workspace.map(|workspace| ("workspace_id", workspace)));
    let heads = [
        "KEY",
        "NAME",
        "SCOPE",
        "STATUS",
        "WORKSPACE",
        "ENVIRONMENT",
        "EXPIRES",
        "LAST USED",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let each = |key: Value| match output.json {
        true => line(&key.to_string()),
        false => {
            rows.push(cells(&key));
            Ok(())
        }
    };
    client.list("/v1/api_keys", &query, each).await?;
    if !output.json {
        line(&table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(key: &Value) -> Vec<String> {
    vec![
        text(&key["id"]),
        text(&key["name"]),
        text(&key["scope"]),
        text(&key["status"]),
        text(&key["workspace_id"]),
        text(&key["environment_id"]),
        moment(&key["expires_at"]),
        moment(&key["last_used_at"]),
    ]
}
