//! `hostel doctor`: what this machine can do for agents, and what to install for more.

use std::process::ExitCode;

use nix::unistd::geteuid;
use serde_json::{Value, json};
use server::config::Config;

use crate::apart;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::settings::Flags;
use crate::versions;

/// Says what this machine can do, and what to install for more
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    flags: Flags,
}

/// Looks and tells. It changes nothing.
pub fn run(options: &Options, output: Output) -> Outcome {
    let config = options.flags.load(&[])?;
    let host = serde_json::to_value(sandbox::doctor::report())
        .map_err(|error| Failure::caused("cannot tell what was found", &error))?;
    let report = json!({
        "hostel": env!("CARGO_PKG_VERSION"),
        "data": config.data,
        "model": {
            "upstream": config.model.base_url,
            "key": if config.model.credential.is_some() { "set" } else { "not set" },
        },
        "claude": versions::installed(&config)?,
        "separation": separation(&config),
        "host": host,
    });
    output.result(&report, &text(&report, 0))?;
    Ok(ExitCode::SUCCESS)
}

/// What keeps whoever takes the server over from the host.
fn separation(config: &Config) -> String {
    if geteuid().is_root() {
        return apart::told(config);
    }
    "none needed: the server has the privileges of its user and no others".to_owned()
}

/// Any value as indented lines: a key per line, lists as dashes.
fn text(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let nested = |value: &Value| match value {
        Value::Object(fields) if !fields.is_empty() => format!("\n{}", text(value, depth + 1)),
        Value::Array(items) if !items.is_empty() => format!("\n{}", text(value, depth + 1)),
        plain => format!(" {}", scalar(plain)),
    };
    match value {
        Value::Object(fields) => {
            let line = |(name, value): (&String, &Value)| {
                format!("{indent}{}:{}", name.replace('_', " "), nested(value))
            };
            fields.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        Value::Array(items) => items
            .iter()
            .map(|item| item_line(&indent, item, depth))
            .collect::<Vec<_>>()
            .join("\n"),
        plain => format!("{indent}{}", scalar(plain)),
    }
}

fn item_line(indent: &str, item: &Value, depth: usize) -> String {
    if item.is_object() || item.is_array() {
        format!("{indent}- {}", text(item, depth + 1).trim_start())
    } else {
        format!("{indent}- {}", scalar(item))
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => "none".to_owned(),
        Value::Number(number) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_lines() {
        let report = json!({"kernel": {"cgroup_version": 2, "user_namespaces": true},
            "lost": [], "runtimes": [{"name": "crun", "path": null}]});
        assert_eq!(
            text(&report, 0),
            "kernel:\n  cgroup version: 2\n  user namespaces: yes\nlost: none\nruntimes:\n  - name: crun\n    path: none"
        );
    }
}
