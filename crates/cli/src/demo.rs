//! `hostel demo`: the whole of it before your eyes: a server, an agent, a task that writes a file,
//! runs a command and answers. Without a key for the real model it says so and uses the scripted
//! one.

use server::config::Config;

use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::results::Place;
use crate::run::{self, DEFAULT_MODEL};
use crate::settings::Flags;
use crate::task::Task;

/// What the real model is asked.
const TASK: &str = "Write a Python-free shell script /workspace/primes.sh that prints the prime numbers below 50, \
    run it, and tell me in one sentence how many there are and on which system it ran (uname -sr).";

/// The same for the scripted model: what it does stands in the task itself.
const SCRIPTED_TASK: &str = r#"Write a file, run it, and answer.
@say I will write a small script and run it.
@tool Write {"file_path": "/workspace/hello.sh", "content": "echo \"hello from $(whoami) in $(pwd)\"\nuname -sr\nls -A / | tr '\\n' ' '\n"}
@next
@tool Bash {"command": "sh /workspace/hello.sh", "description": "Run the script"}
@say Done: the script ran inside the sandbox, as its own user, and saw nothing of this machine but its programs."#;

/// Shows it all: hosts an agent, gives it a task, prints what happens, leaves nothing running
#[derive(clap::Args)]
pub struct Options {
    /// Use the scripted model even when there is a key
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Runs the demonstration.
pub async fn run(options: Options, output: Output) -> Outcome {
    let config = options.flags.load(&[])?;
    let offline = options.offline || config.model.credential.is_none();
    let say = |text: &str| {
        if output.json {
            Ok(())
        } else {
            crate::output::line(text)
        }
    };
    if !offline {
        say(&format!(
            "model: {DEFAULT_MODEL} at {}",
            config.model.base_url
        ))?;
    } else if options.offline {
        say("model: the scripted one, as asked")?;
    } else {
        say("model: the scripted one, because ANTHROPIC_API_KEY is not set")?;
    }
    say(&format!("data: {}", config.data.display()))?;
    say(&place(&config))?;
    let mut task = Task {
        text: if offline { SCRIPTED_TASK } else { TASK }.to_owned(),
        agent: None,
        environment: None,
        model: DEFAULT_MODEL.to_owned(),
        system: None,
        tools: Vec::new(),
        keep: false,
        results: Place::Server,
    };
    let code = run::embedded(&options.flags, offline, &mut task, output).await?;
    if code != std::process::ExitCode::SUCCESS {
        return Err(Failure::new("the demonstration did not finish")
            .next("`hostel doctor` says what this machine lacks"));
    }
    say(
        "the server, the sandbox and the session are gone again; next: `hostel serve`, then `hostel run \"task\"`",
    )?;
    Ok(code)
}

/// Where the agent's tools run.
fn place(config: &Config) -> String {
    let sandbox = &config.sandbox;
    format!(
        "sandbox: {} runtime, root file system {} (read-only), {} MiB memory, {:.1} cpu, {} processes, {} MiB disk, no network",
        sandbox.runtime.program().unwrap_or("embedded"),
        sandbox.rootfs,
        sandbox.memory_mib,
        f64::from(sandbox.cpu_millis) / 1000.0,
        sandbox.pids,
        sandbox.disk_mib,
    )
}
