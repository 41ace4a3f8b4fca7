//! `hostel workspaces`: the tenants of a server and what each may use, over its API with an admin key.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::client::{Address, Client};
use crate::failure::Outcome;
use crate::output::{Output, line, moment, table, text};

/// Makes, lists and limits the workspaces of a server
#[derive(clap::Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    address: Address,
}

#[derive(clap::Subcommand)]
enum What {
    /// Lists them, newest first
    List,
    /// Makes one; it has no key yet, `hostel keys create --workspace` makes one
    Create {
        /// Its name for people
        name: String,
        #[command(flatten)]
        limits: Limits,
    },
    /// Changes its name or limits
    Set {
        /// Its id
        workspace: String,
        /// Its new name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        limits: Limits,
    },
}

#[derive(clap::Args)]
struct Limits {
    /// A limit, for example max_sandboxes=4, max_memory=8GiB, max_cost_per_day=5000 (US cents) or
    /// max_sessions=none (repeatable)
    #[arg(long = "limit", value_name = "KEY=VALUE", value_parser = limit)]
    limits: Vec<(String, Value)>,
}

impl Limits {
    /// As the API takes them; the server judges their names and ranges.
    fn body(self) -> Value {
        Value::Object(self.limits.into_iter().collect::<Map<String, Value>>())
    }
}

/// Does what was asked.
pub async fn run(options: Options, output: Output) -> Outcome {
    let client = options.address.client()?;
    match options.what {
        What::List => list(&client, output).await,
        What::Create { name, limits } => {
            let body = json!({"name": name, "limits": limits.body()});
            let made = client.post("/v1/workspaces", &body).await?;
            output.result(&made, &format!("made {}", text(&made["id"])))
        }
        What::Set {
            workspace,
            name,
            limits,
        } => {
            let mut body = json!({"limits": limits.body()});
            if let Some(name) = name {
                body["name"] = json!(name);
            }
            let path = format!("/v1/workspaces/{workspace}");
            let changed = client.post(&path, &body).await?;
            output.result(
                &changed,
                &format!("changed {workspace}: {}", shown(&changed)),
            )
        }
    }
}

async fn list(client: &Client, output: Output) -> Outcome {
    let heads = ["WORKSPACE", "NAME", "CREATED", "LIMITS"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let each = |workspace: Value| match output.json {
        true => line(&workspace.to_string()),
        false => {
            let (id, name) = (text(&workspace["id"]), text(&workspace["name"]));
            rows.push(vec![
                id,
                name,
                moment(&workspace["created_at"]),
                shown(&workspace),
            ]);
            Ok(())
        }
    };
    client.list("/v1/workspaces", &[], each).await?;
    if !output.json {
        line(&table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The limits that there are, as they are written on the command line.
fn shown(workspace: &Value) -> String {
    let Some(limits) = workspace["limits"].as_object() else {
        return String::new();
    };
    let words: Vec<String> = limits
        .iter()
        .filter_map(|(key, value)| match value {
            Value::Null => None,
            Value::Object(money) => Some(format!("{key}={}", text(&money["amount"]))),
            other => Some(format!("{key}={other}")),
        })
        .collect();
    match words.is_empty() {
        true => "none".to_owned(),
        false => words.join(" "),
    }
}

fn limit(given: &str) -> Result<(String, Value), String> {
    let (key, value) = given
        .split_once('=')
        .ok_or_else(|| "must be KEY=VALUE".to_owned())?;
    let value = match (key, value, value.parse::<u64>()) {
        (_, "none", _) => Value::Null,
        ("max_cost_per_day", cents, _) => json!({"amount": cents, "currency": "USD"}),
        (_, _, Ok(number)) => json!(number),
        (_, text, Err(_)) => json!(text),
    };
    Ok((key.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_a_size_money_or_none() {
        for (given, value) in [
            ("max_sandboxes=4", json!(4)),
            ("max_memory=8GiB", json!("8GiB")),
            (
                "max_cost_per_day=500",
                json!({"amount": "500", "currency": "USD"}),
            ),
            ("max_cost_per_day=none", Value::Null),
        ] {
            assert_eq!(limit(given).unwrap().1, value);
        }
        assert!(limit("max_sandboxes").is_err());
    }

    #[test]
    fn limits_are_shown_as_they_are_set() {
        let limits = json!({"limits": {"max_sandboxes": 2, "max_disk": null,
            "max_cost_per_day": {"amount": "5", "currency": "USD"}}});
        assert_eq!(shown(&limits), "max_sandboxes=2 max_cost_per_day=5");
        assert_eq!(shown(&json!({"limits": {"max_disk": null}})), "none");
    }
}
