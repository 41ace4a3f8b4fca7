//! The four ways to host a session, with the real CLI in real sandboxes: how far it goes down when
//! nobody talks to it, what is there when somebody does, and whom it never meets.

mod ephemeral;
mod forks;
mod hybrid;
mod killed;
mod limits;
mod long_running;
mod memory;
mod pool;
mod shared;

use integration::{Process, Session, Setup, World, until};
use serde_json::json;

/// A world whose sessions rest as soon as nobody talks to them.
fn restless() -> Setup {
    Setup::default().set("sandbox.freeze_after_ms", 50)
}

/// A line of a script that calls a shell.
fn bash(command: &str) -> String {
    format!("@tool Bash {}", json!({"command": command}))
}

/// What a command says, in a turn of its own.
async fn shell(session: &Session, command: &str) -> String {
    let turn = session.turn(&format!("{}\n@say done", bash(command))).await;
    turn.answered("done");
    let result = turn.only("agent.tool_result");
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    text.to_owned()
}

/// Waits until the kernel has stopped a process.
async fn frozen(process: Process) {
    until("a frozen process", || process.frozen().then_some(())).await;
}

/// What the agent said in the newest conversation that the model was asked to go on with.
fn answers(world: &World) -> Vec<String> {
    let newest = world.asked().pop().unwrap().json();
    let messages = newest["messages"].as_array().unwrap().iter();
    let agent = messages.filter(|message| message["role"] == "assistant");
    let blocks =
        agent.flat_map(|message| message["content"].as_array().cloned().unwrap_or_default());
    blocks
        .filter_map(|block| block["text"].as_str().map(str::to_owned))
        .collect()
}
