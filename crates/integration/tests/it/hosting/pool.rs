//! Spares: made ready before anybody asks, given to one session each, replaced when they die or when
//! what they were made for has changed.

use std::sync::Arc;

use integration::{Agent, Process, Sandbox, Session, World, until};
use serde_json::json;

use super::{frozen, restless, shell};

/// An environment with one spare at a time, and a session of it that runs.
struct Warm {
    world: World,
    agent: String,
    environment: String,
    spare: Sandbox,
}

impl Warm {
    async fn new() -> Option<Warm> {
        let world = restless().start().await?;
        let hosting = json!({"pool": {"min": 1, "max": 1}});
        let environment = world.environment(&hosting).await;
        let agent = world.agent(&Agent::free()).await;
        let first = world.hosted(&agent, &environment).await;
        first.turn("@say first").await.answered("first");
        first.delete().await.ok();
        let spare = ready(world.sandbox().await).await;
        Some(Warm {
            world,
            agent,
            environment,
            spare,
        })
    }

    async fn session(&self) -> Arc<Session> {
        self.world.hosted(&self.agent, &self.environment).await
    }

    /// The spare that is made after these.
    async fn next(&self, old: &[Sandbox]) -> Sandbox {
        ready(self.world.new_sandbox(old).await).await
    }
}

/// A spare is ready when it is frozen.
async fn ready(sandbox: Sandbox) -> Sandbox {
    frozen(sandbox.claude().await).await;
    sandbox
}

/// Marks a session's sandbox and says whether it is this one.
async fn sits_in(session: &Session, sandbox: &Sandbox) -> bool {
    let mark = format!("mark-{}", session.id);
    shell(session, &format!("echo > /workspace/{mark}")).await;
    sandbox.file(&format!("/workspace/{mark}")).exists()
}

#[tokio::test]
async fn a_spare_serves_one_session_and_another_takes_its_place() {
    let Some(warm) = Warm::new().await else {
        return;
    };
    let claude = warm.spare.claude().await;
    let second = warm.session().await;
    second.turn("@say warm").await.answered("warm");
    assert!(claude.lives());
    assert!(sits_in(&second, &warm.spare).await);
    let next = warm.next(std::slice::from_ref(&warm.spare)).await;
    let third = warm.session().await;
    third.turn("@say warm too").await.answered("warm too");
    assert!(sits_in(&third, &next).await);
    assert!(!sits_in(&third, &warm.spare).await);
    assert!(!shell(&third, "ls /workspace").await.contains(&second.id));
    warm.world.remembered(&second);
    warm.world.remembered(&third);
    warm.world.end().await;
}

/// Version 1 of control groups lets nothing die that is frozen, so nobody can know before the spare is
/// claimed; then the session begins again elsewhere.
async fn whose_spare_was_killed(warm: Warm, victim: Process) {
    victim.kill();
    let session = warm.session().await;
    let turn = session.turn("@say fine").await;
    assert_eq!(turn.texts(), ["fine"]);
    assert_eq!(turn.stop_reason(), "end_turn");
    assert!(
        turn.errors().iter().all(|(.., next)| next == "retrying"),
        "{:?}",
        turn.errors()
    );
    until("the end of what was killed", || {
        (!victim.lives()).then_some(())
    })
    .await;
    session.turn("@say and on").await.answered("and on");
    warm.world.remembered(&session);
    warm.world.end().await;
}

#[tokio::test]
async fn a_spare_that_died_is_no_obstacle() {
    if let Some(warm) = Warm::new().await {
        let guest = warm.spare.guest;
        whose_spare_was_killed(warm, guest).await;
    }
}

#[tokio::test]
async fn a_claude_that_died_in_a_spare_is_no_obstacle() {
    if let Some(warm) = Warm::new().await {
        let claude = warm.spare.claude().await;
        whose_spare_was_killed(warm, claude).await;
    }
}

#[tokio::test]
async fn a_changed_agent_gets_no_spare_of_the_old_one() {
    let Some(warm) = Warm::new().await else {
        return;
    };
    let path = format!("/v1/agents/{}", warm.agent);
    let change = json!({"version": 1, "system": "You are the second version."});
    warm.world.client.post(&path, &change).await.ok();
    let session = warm.session().await;
    session.turn("@say new").await.answered("new");
    let asked = warm.world.asked().pop().unwrap().json();
    assert!(asked["system"].to_string().contains("the second version"));
    assert!(!sits_in(&session, &warm.spare).await);
    until("the end of the outdated spare", || {
        (!warm.spare.guest.lives()).then_some(())
    })
    .await;
    warm.world.end().await;
}

#[tokio::test]
async fn a_changed_environment_gets_no_spare_of_the_old_one() {
    let Some(warm) = Warm::new().await else {
        return;
    };
    let path = format!("/v1/environments/{}", warm.environment);
    let hosting = json!({"resources": {"pids": 300}});
    let change = json!({"config": {"type": "cloud", "hosting": hosting}});
    warm.world.client.post(&path, &change).await.ok();
    let session = warm.session().await;
    session.turn("@say new").await.answered("new");
    assert!(!sits_in(&session, &warm.spare).await);
    until("the end of the outdated spare", || {
        (!warm.spare.guest.lives()).then_some(())
    })
    .await;
    warm.world.end().await;
}

#[tokio::test]
async fn a_restarted_server_makes_its_spares_before_anybody_asks() {
    let Some(mut warm) = Warm::new().await else {
        return;
    };
    let session = warm.session().await;
    session.turn("@say warm").await.answered("warm");
    session.archive().await.ok();
    warm.world.stop().await;
    warm.world.restart().await;
    let spare = ready(warm.world.sandbox().await).await;
    let next = warm.session().await;
    next.turn("@say warm again").await.answered("warm again");
    assert!(sits_in(&next, &spare).await);
    warm.world.remembered(&next);
    warm.world.end().await;
}
