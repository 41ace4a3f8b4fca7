//! The limits of sandboxes, hit from inside: each is told as what it is, and the session goes on.

use integration::{Agent, Sandbox, Setup};
use serde_json::json;

#[tokio::test]
async fn a_memory_limit_that_is_hit_is_told() {
    let Some(world) = Setup::default()
        .set("sandbox.memory_mib", 640)
        .start()
        .await
    else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let eat = "head -c 2G /dev/zero | tail -c 2G > /dev/null; sleep 3";
    let turn = session
        .turn(&format!("@tool Bash {{\"command\":\"{eat}\"}}\n@say after"))
        .await;
    turn.told(
        "unknown_error",
        "memory limit of 640 MiB and the kernel killed a process in it",
        "retrying",
    );
    assert_eq!(
        (turn.texts(), turn.stop_reason().as_str()),
        (vec!["after".to_owned()], "end_turn")
    );
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn a_process_limit_that_is_hit_is_told() {
    let Some(world) = Setup::default().set("sandbox.pids", 64).start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    // Not bash itself, which tries again for seconds and starves claude of threads meanwhile.
    let fork = "sh -c 'for i in $(seq 100); do sleep 1 & done'; sleep 3";
    let told = "the sandbox hit its limit of 64 processes; new ones were refused";
    // On a busy machine the turn may end before the limit is looked at.
    let heard = session.find("the limit", move |frame| frame.data.contains(told));
    let turn = session
        .turn(&format!(
            "@tool Bash {{\"command\":\"{fork}\"}}\n@say after"
        ))
        .await;
    // Told again as long as new ones are refused; claude, too, may die of having no threads.
    let heard = heard.await.errors();
    assert_eq!(
        heard.last().unwrap(),
        &(
            "unknown_error".to_owned(),
            told.to_owned(),
            "retrying".to_owned()
        )
    );
    let errors = turn.errors();
    let starved = |message: &str| message.starts_with("claude ");
    assert!(
        errors
            .iter()
            .all(|(_, message, _)| message == told || starved(message)),
        "{errors:?}"
    );
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn a_disk_limit_that_is_hit_is_told() {
    let Some(world) = Setup::default().set("sandbox.disk_mib", 64).start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let fill = "head -c 100M /dev/zero > /workspace/x; sleep 4; rm /workspace/x";
    let turn = session
        .turn(&format!(
            "@tool Bash {{\"command\":\"{fill}\"}}\n@say after"
        ))
        .await;
    turn.told(
        "unknown_error",
        "its disk limit of 64 MiB; writes fail until files are removed",
        "retrying",
    );
    assert_eq!(
        (turn.texts(), turn.stop_reason().as_str()),
        (vec!["after".to_owned()], "end_turn")
    );
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

/// A disk of 64 MiB has 4,096 files, whatever their size.
#[tokio::test]
async fn a_limit_of_files_that_is_hit_is_told() {
    let Some(world) = Setup::default().set("sandbox.disk_mib", 64).start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let fill = "mkdir /workspace/d; cd /workspace/d; seq 5000 | xargs touch 2> /dev/null || echo refused; sleep 4; rm -r /workspace/d";
    let turn = session
        .turn(&format!(
            "@tool Bash {{\"command\":\"{fill}\"}}\n@say {{{{result}}}}"
        ))
        .await;
    turn.told(
        "unknown_error",
        "its limit of 4096 files; writes fail until files are removed",
        "retrying",
    );
    assert!(turn.texts().concat().contains("refused"), "{turn:#?}");
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn a_session_beyond_the_last_sandbox_says_that_it_waits_and_then_runs() {
    let Some(world) = Setup::default()
        .set("limits.max_sandboxes", 1)
        .start()
        .await
    else {
        return;
    };
    let first = world.session(&Agent::free()).await;
    first.turn("@say first").await.answered("first");
    let second = world.session(&Agent::free()).await;
    second.say("@say second").await;
    let told = second.event("hostel.queued").await;
    assert_eq!(
        (&told["position"], &told["reason"]),
        (&json!(1), &json!("server_full"))
    );
    assert_eq!(Sandbox::all(&world.data).len(), 1);
    assert_eq!(second.show().await["status"], "running");
    first.delete().await.ok();
    let turn = second.idle().await;
    assert_eq!(
        (turn.texts(), turn.stop_reason().as_str()),
        (vec!["second".to_owned()], "end_turn")
    );
    assert_eq!(turn.errors().len(), 0);
    world.end().await;
}
