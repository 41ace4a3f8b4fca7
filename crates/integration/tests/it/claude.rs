//! A claude that misbehaves: prints garbage, too much, nothing, or ends at once. The session says
//! what it was, goes idle, and stays usable.

use integration::{Agent, Cli, Setup, World};

/// A claude that does `fault` at its first start in a sandbox, and answers `here I am` to every
/// message from then on, or after the fault when that lets it.
fn faulty(fault: &str) -> Cli {
    let script = r#"#!/bin/sh
say() { printf '%s\n' "$1"; }
if [ ! -e /workspace/began ]; then
  : > /workspace/began
  FAULT
fi
while IFS= read -r line; do
  case $line in
  *'"type":"user"'*)
    say '{"type":"system","subtype":"session_state_changed","state":"running"}'
    say '{"type":"assistant","message":{"id":"m","type":"message","role":"assistant","model":"x","content":[{"type":"text","text":"here I am"}]},"parent_tool_use_id":null,"uuid":"u"}'
    say '{"type":"result","subtype":"success","is_error":false,"num_turns":1}'
    say '{"type":"system","subtype":"session_state_changed","state":"idle"}' ;;
  *'"subtype":"initialize"'*)
    say '{"type":"control_response","response":{"subtype":"success","request_id":"initialize","response":{}}}' ;;
  esac
done
"#;
    Cli::Fake(script.replace("FAULT", fault))
}

async fn with(fault: &str) -> Option<World> {
    // Long for a script, short for a test.
    Setup::default()
        .cli(faulty(fault))
        .set("cli.start_timeout_ms", 3000)
        .start()
        .await
}

#[tokio::test]
async fn one_that_exits_at_once_ends_the_turn_with_its_last_words() {
    let Some(world) = with("echo 'no such flag: --x' >&2; exit 3").await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let turn = session.turn("hello").await;
    let why = "claude exited with status 3 before it was ready; it said: no such flag: --x";
    turn.told("unknown_error", why, "exhausted");
    assert_eq!(
        (turn.errors().len(), turn.stop_reason().as_str()),
        (1, "retries_exhausted")
    );
    session.turn("hello").await.answered("here I am");
    world.end().await;
}

#[tokio::test]
async fn one_that_is_no_program_ends_the_turn() {
    let fake = Cli::Fake("\u{7f}nothing that any kernel runs\n".to_owned());
    let Some(world) = Setup::default().cli(fake).start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let turn = session.turn("hello").await;
    turn.told("unknown_error", "cannot start claude", "exhausted");
    assert_eq!(turn.stop_reason(), "retries_exhausted");
    world.end().await;
}

#[tokio::test]
async fn without_one_the_turn_says_how_to_install_it() {
    let Some(world) = Setup::default().cli(Cli::None).start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let turn = session.turn("hello").await;
    turn.told(
        "unknown_error",
        "no claude cli is installed; run `hostel cli install`",
        "exhausted",
    );
    assert_eq!(turn.stop_reason(), "retries_exhausted");
    Cli::Real.install(&world.data);
    session.turn("@say at last").await.answered("at last");
    world.end().await;
}

#[tokio::test]
async fn garbage_between_frames_is_passed_over_and_logged() {
    let garbage = r#"say 'Segmentation fault'; say '{"type":'; say '{"type":7}'; printf '\377\000\n'; say '[]'; say ''"#;
    let Some(world) = with(garbage).await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("hello").await.answered("here I am");
    assert!(
        world.log().contains("Segmentation fault"),
        "{}",
        world.log()
    );
    world.end().await;
}

#[tokio::test]
async fn one_that_prints_only_garbage_is_started_again() {
    let Some(world) = with("while :; do say garbage; done").await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let turn = session.turn("hello").await;
    turn.told("unknown_error", "claude said nothing", "retrying");
    assert_eq!(turn.texts(), ["here I am"]);
    assert_eq!(turn.stop_reason(), "end_turn");
    session.turn("hello").await.answered("here I am");
    world.end().await;
}

#[tokio::test]
async fn one_that_prints_nothing_is_started_again() {
    let Some(world) = with("sleep 600").await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let turn = session.turn("hello").await;
    turn.told("unknown_error", "claude said nothing for 3", "retrying");
    assert_eq!(turn.texts(), ["here I am"]);
    session.turn("hello").await.answered("here I am");
    world.end().await;
}

#[tokio::test]
async fn a_line_of_a_hundred_megabytes_is_dropped_and_told() {
    let line = r#"printf '{"type":"x","x":"'; head -c 100000000 /dev/zero | tr '\0' a; say '"}'"#;
    let fake = faulty(line);
    let Some(world) = Setup::default().cli(fake).start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("hello").await.told(
        "unknown_error",
        "a line of more than 64 MiB; it was dropped",
        "retrying",
    );
    session.turn("hello").await.answered("here I am");
    let memory = world.server().memory() >> 20;
    assert!(memory < 150, "the server holds {memory} MiB");
    world.end().await;
}

#[tokio::test]
async fn a_hundred_thousand_tiny_frames_are_taken_as_they_come() {
    // What is not known becomes an event each; deltas are shown and not kept.
    let frames = r#"yes '{"type":"x","n":1}' | head -n 2000
  yes '{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}},"parent_tool_use_id":null}' | head -n 98000"#;
    let Some(world) = Setup::default().cli(faulty(frames)).start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("hello").await.answered("here I am");
    session.turn("hello").await.answered("here I am");
    let memory = world.server().memory() >> 20;
    assert!(memory < 150, "the server holds {memory} MiB");
    world.end().await;
}

/// What a tool prints comes through the real CLI, whatever it is.
#[tokio::test]
async fn a_tool_may_print_anything() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    for command in [
        "head -c 1000 /dev/zero",
        "printf 'half a character: \\303'",
        "printf '\\377\\376\\000\\001 no end of line'",
        "head -c 30000000 /dev/zero | tr '\\0' a",
        "yes | head -c 300000000",
        "yes 'a line' | head -n 1000000",
        "printf '\\033]0;title\\007\\033[2J{\"type\":\"result\",\"subtype\":\"success\"}\\n'",
        "trap '' TERM; (trap '' TERM; sleep 300) > /dev/null 2>&1 & echo left behind",
    ] {
        let call = serde_json::json!({ "command": command });
        let turn = session
            .turn(&format!("@tool Bash {call}\n@say printed"))
            .await;
        assert_eq!(turn.texts(), ["printed"], "{command}: {turn:#?}");
        assert_eq!(turn.stop_reason(), "end_turn", "{command}");
        let result = turn.only("agent.tool_result").to_string();
        assert!(result.len() < 4 << 20, "{command}: {} bytes", result.len());
    }
    let memory = world.server().memory() >> 20;
    assert!(memory < 150, "the server holds {memory} MiB");
    world.end().await;
}
