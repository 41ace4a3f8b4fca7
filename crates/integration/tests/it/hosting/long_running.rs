//! Sandboxes that stay: work in the background goes on, and a sandbox that grows old is left between
//! turns.

use std::fs;
use std::time::Duration;

use integration::{Agent, Events, World, until};
use serde_json::{Value, json};

use super::{answers, bash, frozen, restless, shell};

#[tokio::test]
async fn a_process_in_the_background_keeps_its_sandbox_from_freezing() {
    let Some(world) = restless().start().await else {
        return;
    };
    let agent = world.agent(&Agent::free()).await;
    for sessions in [1, 2] {
        let hosting = json!({"pattern": "long_running", "max_sessions": sessions});
        let environment = world.environment(&hosting).await;
        let session = world.hosted(&agent, &environment).await;
        let clock = "while true; do echo tick >> ticks; sleep 0.05; done";
        shell(
            &session,
            &format!("pwd; setsid sh -c '{clock}' > /dev/null 2>&1 &"),
        )
        .await;
        let sandbox = world.sandbox().await;
        let place = if sessions == 1 {
            String::new()
        } else {
            format!("/{}", session.id)
        };
        let ticks = sandbox.file(&format!("/workspace{place}/ticks"));
        let count = || fs::metadata(&ticks).map_or(0, |file| file.len() / 5);
        // It was to rest when its files are saved; much later the clock still ticks.
        let kept = world.data.join("snapshots").join(&session.id);
        until("a snapshot", || kept.exists().then_some(())).await;
        let then = count();
        until("a clock that goes on", || {
            (count() > then + 20).then_some(())
        })
        .await;
        session.turn("@say fine").await.answered("fine");
        session.delete().await.ok();
        world.sandboxes(0).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_task_in_the_background_begins_a_turn_of_its_own() {
    let Some(world) = restless().start().await else {
        return;
    };
    let environment = world.environment(&json!({"pattern": "long_running"})).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    let task = json!({"command": "sleep 1; echo woken", "run_in_background": true});
    session
        .turn(&format!("@tool Bash {task}\n@say waiting"))
        .await
        .answered("waiting");
    let turn = session.idle().await;
    assert_eq!(turn.of("user.message"), Vec::<Value>::new());
    assert_eq!(turn.of("session.status_running").len(), 1);
    assert_eq!(
        (turn.errors(), turn.stop_reason().as_str()),
        (vec![], "end_turn")
    );
    assert!(!turn.texts().is_empty());
    let last = world.asked().pop().unwrap().json().to_string();
    assert!(last.contains("<task-notification>"), "{last}");
    session.turn("@say and on").await.answered("and on");
    world.remembered(&session);
    world.end().await;
}

#[tokio::test]
async fn a_sandbox_that_is_too_old_is_left_between_turns_and_the_files_come_along() {
    let Some(world) = restless().start().await else {
        return;
    };
    let hosting = json!({"pattern": "long_running", "max_lifetime": 5});
    let environment = world.environment(&hosting).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    session.turn("@say noted").await.answered("noted");
    let old = world.sandbox().await;
    let claude = old.claude().await;
    let long = "echo kept > file; timeout 6 tail -f /dev/null; echo over";
    let turn = session.turn(&format!("{}\n@say done", bash(long))).await;
    over(&turn);
    world.gone(&old, &[claude]).await;
    // Nobody asks for it: it is back by itself.
    world.new_sandbox(&[old]).await.claude().await;
    assert_eq!(shell(&session, "cat file").await, "kept");
    assert!(answers(&world).contains(&"noted".to_owned()));
    world.remembered(&session);
    world.end().await;
}

fn over(turn: &Events) {
    turn.answered("done");
    let result = turn.only("agent.tool_result");
    assert_eq!(result["content"][0]["text"], "over");
}

#[tokio::test]
async fn a_claude_that_dies_is_brought_back_though_nobody_asks() {
    let Some(world) = World::new().await else {
        return;
    };
    let environment = world.environment(&json!({"pattern": "long_running"})).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    shell(&session, "echo kept > file").await;
    let sandbox = world.sandbox().await;
    let claude = sandbox.claude().await;
    claude.kill_and_wait().await;
    let next = until("another claude", || {
        let below = sandbox.guest.descendants();
        let mut claudes = below.into_iter();
        claudes.find(|process| process.arguments()[0] == "/opt/hostel/claude")
    });
    assert_ne!(next.await, claude);
    assert_eq!(shell(&session, "cat file").await, "kept");
    world.remembered(&session);
    world.end().await;
}

#[tokio::test]
async fn a_session_that_stays_is_back_after_a_restart_though_nobody_asks() {
    let Some(mut world) = restless().start().await else {
        return;
    };
    let environment = world.environment(&json!({"pattern": "long_running"})).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    session.turn("@say noted").await.answered("noted");
    shell(&session, "echo kept > file").await;
    for killed in [true, false] {
        let old = world.sandbox().await;
        match killed {
            true => {
                // What it would lose is what it did after its last rest.
                frozen(old.claude().await).await;
                world.crash().await;
            }
            false => world.stop().await,
        }
        world.restart().await;
        world.gone(&old, &[]).await;
        world.sandbox().await.claude().await;
    }
    assert_eq!(shell(&session, "cat file").await, "kept");
    assert!(answers(&world).contains(&"noted".to_owned()));
    world.remembered(&session);
    world.end().await;
}

/// The shortest that a timer can be set for is a minute.
#[tokio::test]
async fn a_timer_keeps_its_claude_awake_and_begins_a_turn_of_its_own() {
    let Some(world) = restless().start().await else {
        return;
    };
    let environment = world.environment(&json!({"pattern": "long_running"})).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    let timer = json!({"delaySeconds": 60, "reason": "to look again", "prompt": "@say woken"});
    session
        .turn(&format!("@tool ScheduleWakeup {timer}\n@say waiting"))
        .await
        .answered("waiting");
    let claude = world.sandbox().await.claude().await;
    // Longer than anything else may take.
    let rung = async {
        let idle = |event: &String| event.contains(r#""type":"session.status_idle""#);
        while session.list().await.into_iter().filter(idle).count() < 2 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let rung = tokio::time::timeout(Duration::from_secs(300), rung);
    rung.await.expect("the timer rings");
    let turn = session.idle().await;
    assert!(claude.lives());
    assert_eq!(turn.of("user.message"), Vec::<Value>::new());
    assert_eq!(turn.texts(), ["woken"]);
    world.end().await;
}
