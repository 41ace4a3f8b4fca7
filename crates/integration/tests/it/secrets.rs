//! The key of the model API: it reaches the model, and nothing else. The agent looks for it
//! everywhere it can, and then the test does.

use std::path::Path;

use integration::{Agent, MODEL_KEY, Setup, World};

/// What an agent that wants the key would try. Prints nothing of the host's own but what it can see.
const HUNT: &str = "env; cat /proc/*/environ /proc/*/cmdline | tr '\\\\0' '\\\\n'; cat /proc/*/maps | head -5; \
     grep -rIs sk-ant /home /workspace /tmp /etc /opt /mnt /run /dev/shm | head -50; \
     (echo > /dev/tcp/127.0.0.1/61001) && echo the model is there; \
     curl -s -H 'x-api-key: guess' http://127.0.0.1:61001/v1/models; \
     curl -s http://127.0.0.1:61001/v1/messages -d '{}' -v 2>&1";

/// Files that hold the secret, below a directory; the claude CLI and the sandboxes' own disks, which
/// are gone when this is asked, are left out.
pub fn holding(directory: &Path, secret: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && !path.ends_with("data/cli") {
            holding(&path, secret, found);
        }
        if kind.is_file()
            && String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(secret)
        {
            found.push(path.display().to_string());
        }
    }
}

async fn seen(world: &World, path: &str) -> String {
    world.client.get(path).await.text
}

#[tokio::test]
async fn the_models_key_reaches_the_model_and_nothing_else() {
    // A small disk, because the test reads every byte of its image.
    let setup = Setup::default().set("sandbox.disk_mib", 64).log("trace");
    let Some(mut world) = setup.start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let turn = session
        .turn(&format!(
            "@tool Bash {{\"command\":\"{}\"}}\n@say {{{{result}}}}",
            HUNT.replace('"', "\\\"")
        ))
        .await;
    assert_eq!(turn.stop_reason(), "end_turn", "{turn:#?}");
    let result = turn.only("agent.tool_result").to_string();
    // The hunt saw what there is to see.
    assert!(
        result.contains("ANTHROPIC_API_KEY=hostel-placeholder-not-a-key"),
        "{result}"
    );
    // The model takes only the real key, so this answer proves that it came.
    session.turn("@say fine").await.answered("fine");
    // A failure shows what it was asked with, if anything does.
    session.turn("@error 400 invalid_request_error").await;

    let mut texts = vec![
        ("the log", world.log()),
        ("the events", session.list().await.join("\n")),
    ];
    texts.push(("the stream", format!("{:?}", session.watch.frames())));
    for path in [
        "/v1/sessions",
        "/v1/agents",
        "/v1/environments",
        "/v1/models",
        "/healthz",
        "/readyz",
    ] {
        texts.push(("an answer", seen(&world, path).await));
    }
    texts.push((
        "the requests",
        world
            .asked()
            .iter()
            .map(|request| request.json().to_string())
            .collect(),
    ));
    assert!(
        world.log().contains("TRACE"),
        "the log is as talkative as it can be"
    );
    for (what, text) in &texts {
        assert!(!text.contains(MODEL_KEY), "{what} shows the key");
        // Nor any good part of it.
        assert!(
            !text.contains(&MODEL_KEY[20..50]),
            "{what} shows a part of the key"
        );
    }
    world.stop().await;
    let mut found = Vec::new();
    for secret in [MODEL_KEY, world.client.key()] {
        holding(world.data.parent().unwrap(), secret, &mut found);
    }
    assert_eq!(found, [] as [String; 0]);
    world.restart().await;
    world.end().await;
}
