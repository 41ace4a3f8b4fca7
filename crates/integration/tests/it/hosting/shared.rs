//! Several sessions in one sandbox: none can read another's files or see its processes, each comes
//! and goes without harm to the others, and those who work together have one common directory.

use std::sync::Arc;

use integration::{Agent, Process, Sandbox, Session, World};
use serde_json::{Value, json};

use super::{bash, frozen, restless, shell};

/// Two sessions that have both answered once.
struct Two {
    world: World,
    one: Arc<Session>,
    other: Arc<Session>,
    sandbox: Sandbox,
}

impl Two {
    async fn new(hosting: Value) -> Option<Two> {
        let world = restless().start().await?;
        let environment = world.environment(&hosting).await;
        let agent = world.agent(&Agent::free()).await;
        let one = world.hosted(&agent, &environment).await;
        let other = world.hosted(&agent, &environment).await;
        one.turn("@say one").await.answered("one");
        other.turn("@say other").await.answered("other");
        let sandbox = world.sandbox().await;
        Some(Two {
            world,
            one,
            other,
            sandbox,
        })
    }

    async fn claude(&self, of: &Session) -> Process {
        self.sandbox
            .claude_at(&format!("/workspace/{}", of.id))
            .await
    }

    async fn end(self) {
        self.world.remembered(&self.one);
        self.world.remembered(&self.other);
        self.world.end().await;
    }
}

fn shared() -> Value {
    json!({"pattern": "shared"})
}

async fn cannot_read_each_other(hosting: Value) {
    let Some(two) = Two::new(hosting).await else {
        return;
    };
    let hide = "echo secret-1 > own && chmod 666 own && echo secret-2 > ~/own && chmod 666 ~/own \
        && echo secret-3 > /mnt/session/$(basename $PWD)/outputs/own \
        && export MINE=secret-4 && (setsid sleep 300.7 > /dev/null 2>&1 &) && pwd";
    let place = shell(&two.one, hide).await;
    assert_eq!(place, format!("/workspace/{}", two.one.id));
    let id = &two.one.id;
    let look = format!(
        "find /workspace/{id} /home/{id} /mnt/session/{id} /tmp/{id} 2>&1; \
        cat /workspace/{id}/own /home/{id}/own /mnt/session/{id}/outputs/own 2>&1; \
        cat /proc/[0-9]*/environ 2>&1 | tr '\\0' '\\n' | grep -a secret; \
        echo users $(stat -c %u /proc/[0-9]* | sort -u | wc -l); \
        pgrep -x sleep || echo no such process; pwd"
    );
    let seen = shell(&two.other, &look).await;
    assert!(!seen.contains("secret"), "{seen}");
    assert!(seen.contains("users 1\nno such process"), "{seen}");
    assert!(
        seen.ends_with(&format!("/workspace/{}", two.other.id)),
        "{seen}"
    );
    two.sandbox.running("sleep 300.7").await;
    two.end().await;
}

#[tokio::test]
async fn members_of_a_shared_sandbox_cannot_read_each_other() {
    cannot_read_each_other(shared()).await;
}

#[tokio::test]
async fn sessions_that_only_sit_together_cannot_read_each_other() {
    cannot_read_each_other(json!({"pattern": "long_running", "max_sessions": 2})).await;
}

#[tokio::test]
async fn members_of_a_shared_sandbox_write_in_one_directory() {
    let Some(two) = Two::new(shared()).await else {
        return;
    };
    shell(&two.one, "echo from one > /workspace/shared/note").await;
    let more = "cat /workspace/shared/note && echo from other >> /workspace/shared/note";
    assert_eq!(shell(&two.other, more).await, "from one");
    let all = shell(&two.one, "cat /workspace/shared/note").await;
    assert_eq!(all, "from one\nfrom other");
    two.end().await;
}

#[tokio::test]
async fn one_more_than_fit_sits_in_another_sandbox() {
    let hosting = json!({"pattern": "long_running", "max_sessions": 2});
    let Some(two) = Two::new(hosting).await else {
        return;
    };
    let third = two.one.show().await;
    let agent = third["agent"]["id"].as_str().unwrap();
    let environment = third["environment_id"].as_str().unwrap();
    let third = two.world.hosted(agent, environment).await;
    third.turn("@say third").await.answered("third");
    two.world.sandboxes(2).await;
    third.delete().await.ok();
    assert_eq!(two.world.sandbox().await.id, two.sandbox.id);
    two.one.turn("@say fine").await.answered("fine");
    two.end().await;
}

/// What happens to one while the other works.
enum Fate {
    Killed,
    Archived,
    Frozen,
}

async fn the_other_works_on(fate: Fate) {
    let Some(two) = Two::new(shared()).await else {
        return;
    };
    let (one, other) = (two.claude(&two.one).await, two.claude(&two.other).await);
    let wait = "until test -e go; do sleep 0.05; done; echo went";
    two.other.say(&format!("{}\n@say done", bash(wait))).await;
    two.other.event("agent.tool_use").await;
    match fate {
        Fate::Killed => {
            // It may be frozen, and is gone for good only when the next message thaws it.
            one.kill();
            let turn = two.one.turn("@say back").await;
            assert_eq!(turn.texts(), ["back"]);
            assert!(!one.lives());
        }
        Fate::Archived => {
            two.one.archive().await.ok();
            integration::until("the end of one", || (!one.lives()).then_some(())).await;
        }
        Fate::Frozen => frozen(one).await,
    }
    assert!(other.lives() && !other.frozen());
    let go = two.sandbox.file(&format!("/workspace/{}/go", two.other.id));
    std::fs::write(go, "").unwrap();
    let turn = two.other.idle().await;
    turn.answered("done");
    let result = turn.only("agent.tool_result");
    assert_eq!(result["content"][0]["text"], "went");
    if let Fate::Frozen = fate {
        two.one.turn("@say thawed").await.answered("thawed");
        assert!(one.lives());
    }
    assert_eq!(two.world.sandbox().await.id, two.sandbox.id);
    two.other.turn("@say fine").await.answered("fine");
    two.end().await;
}

#[tokio::test]
async fn a_killed_member_harms_nobody_and_comes_back() {
    the_other_works_on(Fate::Killed).await;
}

#[tokio::test]
async fn an_archived_member_harms_nobody() {
    the_other_works_on(Fate::Archived).await;
}

#[tokio::test]
async fn a_member_is_frozen_while_another_works() {
    the_other_works_on(Fate::Frozen).await;
}
