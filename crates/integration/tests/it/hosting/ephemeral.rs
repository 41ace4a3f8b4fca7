//! One sandbox for one task: its results stay, everything else goes.

use integration::{Agent, Session, World};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{bash, restless, shell};

async fn files(world: &World, session: &Session) -> Vec<Value> {
    let path = format!("/v1/files?scope_id={}", session.id);
    let page = world.client.get(&path).await.ok();
    let mut files = page["data"].as_array().unwrap().clone();
    files.sort_by_key(|file| file["filename"].as_str().unwrap().to_owned());
    files
}

fn names(files: &[Value]) -> Vec<&str> {
    let names = files.iter().map(|file| file["filename"].as_str().unwrap());
    names.collect()
}

#[tokio::test]
async fn results_of_a_finished_task_become_files_and_its_sandbox_goes() {
    let Some(world) = restless().start().await else {
        return;
    };
    let environment = world.environment(&json!({"pattern": "ephemeral"})).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    let work = "cd /mnt/session/outputs && printf one > a.txt && mkdir sub \
        && head -c 200000 /dev/urandom | base64 > sub/b.txt && sha256sum < sub/b.txt \
        && ln -s /etc/passwd link && echo left > /workspace/left";
    session.say(&format!("{}\n@say done", bash(work))).await;
    session.event("session.status_running").await;
    let sandbox = world.sandbox().await;
    let claude = sandbox.claude().await;
    let turn = session.idle().await;
    turn.answered("done");
    session.event("session.status_terminated").await;
    world.gone(&sandbox, &[claude]).await;
    let files = files(&world, &session).await;
    assert_eq!(names(&files), ["a.txt", "sub/b.txt"]);
    let mut contents = Vec::new();
    for file in &files {
        let path = format!("/v1/files/{}/content", file["id"].as_str().unwrap());
        let answer = world.client.get(&path).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        contents.push(answer.text);
    }
    assert_eq!(contents[0], "one");
    let said = turn.only("agent.tool_result")["content"][0]["text"].clone();
    let digest: String = Sha256::digest(&contents[1])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(said.as_str().unwrap().starts_with(&digest), "{said}");
    assert_eq!(session.show().await["status"], "terminated");
    let late = session.send(&json!([session.message("@say late")])).await;
    assert_eq!(late.status.as_u16(), 400, "{}", late.text);
    session.delete().await.ok();
    let path = format!("/v1/files/{}", files[0]["id"].as_str().unwrap());
    world
        .client
        .get(&path)
        .await
        .refused(404, "not_found_error", "");
    world.end().await;
}

#[tokio::test]
async fn a_task_that_is_kept_goes_on_in_another_sandbox() {
    let Some(world) = restless().start().await else {
        return;
    };
    let hosting = json!({"pattern": "ephemeral", "when_done": "keep"});
    let environment = world.environment(&hosting).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    let work = "echo one > /mnt/session/outputs/one; echo kept > file";
    shell(&session, work).await;
    let first = world.sandbox().await;
    world.gone(&first, &[]).await;
    assert_eq!(session.show().await["status"], "idle");
    assert_eq!(names(&files(&world, &session).await), ["one"]);
    let more = "cat file; echo two > /mnt/session/outputs/two";
    assert_eq!(shell(&session, more).await, "kept");
    world.sandboxes(0).await;
    // What a turn leaves as it was is no file again; what it changes is.
    assert_eq!(names(&files(&world, &session).await), ["one", "two"]);
    shell(&session, "echo other > /mnt/session/outputs/one").await;
    world.sandboxes(0).await;
    assert_eq!(names(&files(&world, &session).await), ["one", "one", "two"]);
    world.remembered(&session);
    world.end().await;
}

#[tokio::test]
async fn a_task_that_waits_for_an_answer_is_not_done() {
    let Some(world) = restless().start().await else {
        return;
    };
    let environment = world.environment(&json!({"pattern": "ephemeral"})).await;
    let agent = world.agent(&Agent::asking()).await;
    let session = world.hosted(&agent, &environment).await;
    let work = "echo one > /mnt/session/outputs/one";
    session.say(&format!("{}\n@say done", bash(work))).await;
    let call = session.event("agent.tool_use").await;
    assert_eq!(session.idle().await.stop_reason(), "requires_action");
    let claude = world.sandbox().await.claude().await;
    super::frozen(claude).await;
    session.allow(&call).await.ok();
    session.idle().await.answered("done");
    session.event("session.status_terminated").await;
    world.sandboxes(0).await;
    assert_eq!(names(&files(&world, &session).await), ["one"]);
    world.end().await;
}
