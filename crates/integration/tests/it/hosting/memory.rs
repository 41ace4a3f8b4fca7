//! Memory: a claude that takes too much is replaced between turns unseen, and who runs out of it
//! harms nobody else.

use integration::{Agent, until};
use serde_json::json;

use super::{bash, restless, shell};

#[tokio::test]
async fn a_claude_that_takes_too_much_memory_is_replaced_between_turns_unseen() {
    let world = restless().set("sandbox.soft_memory_percent", 10);
    let Some(world) = world.set("sandbox.memory_mib", 640).start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    shell(&session, "echo kept > file").await;
    let sandbox = world.sandbox().await;
    for _ in 0..2 {
        let claude = sandbox.claude().await;
        until("the end of a large claude", || {
            (!claude.lives()).then_some(())
        })
        .await;
        assert_eq!(shell(&session, "cat file").await, "kept");
        assert_eq!(world.sandbox().await.id, sandbox.id);
    }
    assert!(world.log().contains("took too much memory"));
    world.remembered(&session);
    world.end().await;
}

#[tokio::test]
async fn a_member_that_runs_out_of_memory_does_not_end_another() {
    let world = restless().set("sandbox.memory_mib", 1024).start().await;
    let Some(world) = world else {
        return;
    };
    let environment = world.environment(&json!({"pattern": "shared"})).await;
    let agent = world.agent(&Agent::free()).await;
    let (eater, other) = (
        world.hosted(&agent, &environment).await,
        world.hosted(&agent, &environment).await,
    );
    eater.turn("@say one").await.answered("one");
    other.turn("@say other").await.answered("other");
    let sandbox = world.sandbox().await;
    let claude = sandbox.claude_at(&format!("/workspace/{}", other.id)).await;
    let wait = "until test -e go; do sleep 0.05; done; echo went";
    other.say(&format!("{}\n@say done", bash(wait))).await;
    other.event("agent.tool_use").await;
    let eat = "head -c 3G /dev/zero | tail -c 3G > /dev/null; sleep 3";
    let turn = eater.turn(&format!("{}\n@say after", bash(eat))).await;
    assert!(
        turn.errors()
            .iter()
            .any(|(_, message, _)| message.contains("its part of the sandbox's memory, 768 MiB")),
        "{:?}",
        turn.errors()
    );
    assert!(claude.lives());
    std::fs::write(sandbox.file(&format!("/workspace/{}/go", other.id)), "").unwrap();
    let turn = other.idle().await;
    assert_eq!(turn.errors(), vec![]);
    assert_eq!(
        (turn.texts(), turn.stop_reason().as_str()),
        (vec!["done".to_owned()], "end_turn")
    );
    eater.turn("@say fine").await.answered("fine");
    world.remembered(&eater);
    world.remembered(&other);
    world.end().await;
}
