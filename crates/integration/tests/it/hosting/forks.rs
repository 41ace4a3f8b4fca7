//! Forks: each has what was there at its point, and nothing that happened to another since.

use integration::Agent;
use serde_json::json;

use super::{answers, restless, shell};

#[tokio::test]
async fn forks_have_the_files_and_the_conversation_and_never_see_each_other() {
    let Some(mut world) = restless().start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("@say noted").await.answered("noted");
    shell(
        &session,
        "mkdir d && echo base > d/file && echo home > ~/note",
    )
    .await;
    // A server that stops keeps what is there.
    world.stop().await;
    world.restart().await;
    let one = world.fork(&session, &json!({"title": "one"})).await;
    let other = world.fork(&session, &json!({"title": "other"})).await;
    shell(&session, "echo origin >> d/file; echo > origin").await;
    let show = "cat d/file ~/note; ls";
    for fork in [&one, &other] {
        let id = &fork.id;
        assert_eq!(shell(fork, show).await, "base\nhome\nd", "{id}");
        assert!(answers(&world).contains(&"noted".to_owned()));
        shell(
            fork,
            &format!("echo {id} >> d/file; echo {id} > ~/note; echo > {id}"),
        )
        .await;
    }
    for fork in [&one, &other] {
        let id = &fork.id;
        let expected = format!("base\n{id}\n{id}\nd\n{id}");
        assert_eq!(shell(fork, show).await, expected);
        world.remembered(fork);
    }
    assert_eq!(shell(&session, show).await, "base\norigin\nhome\nd\norigin");
    // The origin goes; a fork of a fork does not mind.
    session.delete().await.ok();
    world.stop().await;
    world.restart().await;
    let grandchild = world.fork(&one, &json!({})).await;
    one.delete().await.ok();
    assert_eq!(
        shell(&grandchild, show).await,
        format!("base\n{0}\n{0}\nd\n{0}", one.id)
    );
    world.end().await;
}

#[tokio::test]
async fn a_fork_has_the_files_of_the_turn_that_has_just_ended() {
    let Some(world) = restless().start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    shell(&session, "echo one > file").await;
    let fork = world.fork(&session, &json!({})).await;
    assert_eq!(shell(&fork, "cat file").await, "one");
    world.end().await;
}

#[tokio::test]
async fn a_fork_may_begin_with_an_empty_workspace_or_at_an_earlier_point() {
    let Some(mut world) = restless().start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    shell(&session, "echo one > file").await;
    super::frozen(world.sandbox().await.claude().await).await;
    let turn = session.turn("@say early").await;
    let early = turn.only("session.status_idle")["id"].clone();
    shell(&session, "echo two > file").await;
    world.stop().await;
    world.restart().await;
    let empty = world.fork(&session, &json!({"workspace": "empty"})).await;
    assert_eq!(shell(&empty, "ls -A; echo nothing").await, "nothing");
    let earlier = world.fork(&session, &json!({"event_id": early})).await;
    assert_eq!(shell(&earlier, "cat file").await, "one");
    assert!(!answers(&world).contains(&"two".to_owned()));
    let latest = json!({"event_id": early, "workspace": "latest"});
    let latest = world.fork(&session, &latest).await;
    assert_eq!(shell(&latest, "cat file").await, "two");
    world.end().await;
}
