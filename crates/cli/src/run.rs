//! `hostel run`: one task from the terminal, on a server that is there or on one of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::client::{Address, Client, key_of_environment};
use crate::failure::{Failure, Outcome};
use crate::output::{Output, line};
use crate::private::Private;
use crate::results::Place;
use crate::settings::Flags;
use crate::task::{self, Ended, Task};
use crate::{logs, versions};

/// The model of agents that `hostel run` makes.
pub const DEFAULT_MODEL: &str = "claude-sonnet-5-5";

/// Does one task: makes what it needs, shows the events, exits with the outcome
#[derive(clap::Args)]
pub struct Options {
    /// What to do
    task: String,
    /// The model
    #[arg(long, default_value = DEFAULT_MODEL, conflicts_with = "agent")]
    model: String,
    /// The system prompt
    #[arg(long, conflicts_with = "agent")]
    system: Option<String>,
    /// Allow only this built-in tool: bash, read, write, edit, glob, grep (repeatable)
    #[arg(long = "tool", value_name = "NAME", conflicts_with = "agent")]
    tools: Vec<String>,
    /// Use this agent instead of making one
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Use this environment instead of making one
    #[arg(long, value_name = "ID")]
    environment: Option<String>,
    /// Save what the agent left in /mnt/session/outputs into this directory, which must be empty or absent
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Keep the session for further messages, and what was made for it
    #[arg(long, conflicts_with = "output")]
    keep: bool,
    /// Use the scripted model, on a server of this run's own
    #[arg(long, conflicts_with_all = ["url", "agent", "environment"])]
    offline: bool,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    flags: Flags,
}

/// Performs the task where it can be performed.
pub async fn run(options: Options, output: Output) -> Outcome {
    let mut task = Task {
        text: options.task,
        agent: options.agent,
        environment: options.environment,
        model: options.model,
        system: options.system,
        tools: options.tools,
        keep: options.keep,
        results: options.output.map_or(Place::Server, Place::Save),
    };
    if options.address.url.is_some() {
        return report(
            task::perform(&options.address.client()?, &task, output).await?,
            output,
        );
    }
    if !options.offline
        && let Some(client) = running_server(&options.address).await
    {
        return report(task::perform(&client, &task, output).await?, output);
    }
    embedded(&options.flags, options.offline, &mut task, output).await
}

/// Performs the task on a server of its own, which ends with it.
pub async fn embedded(flags: &Flags, offline: bool, task: &mut Task, output: Output) -> Outcome {
    let mut config = flags.load(&[])?;
    if matches!(task.results, Place::Server) {
        task.results = Place::Data(config.data.join("files"));
    }
    if !offline && config.model.credential.is_none() {
        return Err(Failure::usage("no key for the model").next(
            "set ANTHROPIC_API_KEY, or use --offline for the scripted model, or name a server with --server",
        ));
    }
    if config.log.level == "info" {
        // The events are what the reader came for.
        config.log.level = "warn".to_owned();
    }
    logs::begin(&config.log)?;
    versions::ensure(&config).await?;
    let (server, client) = Private::start(flags, config, offline).await?;
    let result = task::perform(&client, task, output).await;
    server.stop().await;
    report(result?, output)
}

/// The server at the usual place, when it is there and there is a key for it.
async fn running_server(address: &Address) -> Option<Client> {
    key_of_environment()?;
    let client = address.client().ok()?;
    client.is_there().await.then_some(client)
}

fn report(ended: Ended, output: Output) -> Outcome {
    if output.json {
        let cost = json!({"finished": ended.finished, "seconds": ended.seconds, "requests": ended.totals.requests,
            "input_tokens": ended.totals.input, "output_tokens": ended.totals.output, "cents": ended.cents});
        line(&json!({"type": "hostel.outcome", "outcome": cost}).to_string())?;
    } else {
        line(&ended.summary())?;
    }
    Ok(if ended.finished {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
