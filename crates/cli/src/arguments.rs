//! The command line: one verb, one file. Parses, prepares the process, and hands over.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tokio::runtime::Runtime;

use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::{
    config, demo, doctor, events, fork, keys, model, ps, run, send, serve, stop, versions,
    workspaces,
};

/// Hosts agents built on the Claude Agent SDK, on your own machine
#[derive(Parser)]
#[command(name = "hostel", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Print JSON, one value per line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Verb {
    Serve(serve::Options),
    Run(run::Options),
    Demo(demo::Options),
    Ps(ps::Options),
    Events(events::Options),
    Send(send::Options),
    Stop(stop::Options),
    Fork(fork::Options),
    Keys(keys::Options),
    Workspaces(workspaces::Options),
    Doctor(doctor::Options),
    Cli(versions::Options),
    Model(model::Options),
    Config(config::Options),
}

/// Everything after the helper was ruled out.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let output = Output::new(arguments.json);
    match perform(arguments.verb, output) {
        Ok(code) => code,
        Err(failure) => failure.report(output.json),
    }
}

fn perform(verb: Verb, output: Output) -> Outcome {
    // One TLS implementation for the whole process. An error says that there already is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // It gives up its privileges while this process has a single thread.
    if let Verb::Serve(options) = verb {
        return serve::run(options, output);
    }
    runtime()?.block_on(async {
        match verb {
            Verb::Serve(_) => unreachable!("it was ruled out above"),
            Verb::Run(options) => run::run(options, output).await,
            Verb::Demo(options) => demo::run(options, output).await,
            Verb::Ps(options) => ps::run(options, output).await,
            Verb::Events(options) => events::run(options, output).await,
            Verb::Send(options) => send::run(options, output).await,
            Verb::Stop(options) => stop::run(options, output).await,
            Verb::Fork(options) => fork::run(options, output).await,
            Verb::Keys(options) => keys::run(options, output).await,
            Verb::Workspaces(options) => workspaces::run(options, output).await,
            Verb::Doctor(options) => doctor::run(&options, output),
            Verb::Cli(options) => versions::run(options, output).await,
            Verb::Model(options) => model::run(options, output).await,
            Verb::Config(options) => config::run(&options, output),
        }
    })
}

/// What verbs run on.
pub fn runtime() -> Result<Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    built.map_err(|error| Failure::caused("cannot start", &error))
}

/// A wrong command line ends with 2; `--help` and `--version` are no errors.
fn refuse(error: &clap::Error) -> ExitCode {
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    // Nothing can be done about a terminal that went away.
    let _ = error.print();
    ExitCode::from(if asked { 0 } else { 2 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_verb_takes_json() {
        for verb in [
            &["ps"][..],
            &["config", "schema"],
            &["doctor"],
            &["events", "sesn_1"],
            &["fork", "sesn_1"],
            &["keys", "list"],
            &["workspaces", "list"],
        ] {
            let words = ["hostel"]
                .into_iter()
                .chain(verb.iter().copied())
                .chain(["--json"]);
            assert!(
                Arguments::try_parse_from(words).is_ok_and(|arguments| arguments.json),
                "{verb:?}"
            );
        }
    }
}
