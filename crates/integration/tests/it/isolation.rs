//! Sessions at every level of isolation: the same guest, link, way out and claude.

use integration::{Agent, Setup, World};
use serde_json::{Value, json};

/// A turn with a tool, a second one that remembers the first, and the way out closed to others.
async fn works(world: World, hosting: Value, level: &str) {
    let agent = world.agent(&Agent::free()).await;
    let environment = world.environment(&hosting).await;
    let session = world.hosted(&agent, &environment).await;
    let shown = world
        .client
        .get(&format!("/v1/sessions/{}", session.id))
        .await
        .ok();
    assert_eq!(shown["isolation"], level);
    let script = "@tool Bash {\"command\":\"id -u; echo kept > /workspace/kept; ls /root || echo hidden\"}\n@say {{result}}";
    let turn = session.turn(script).await;
    assert_eq!(turn.errors(), [], "{turn:#?}");
    assert!(turn.texts().concat().contains("hidden"), "{turn:#?}");
    let reach = "@tool Bash {\"command\":\"cat /workspace/kept; (exec 3<>/dev/tcp/192.0.2.1/80) 2>&1 || echo unreachable\"}\n@say {{result}}";
    let turn = session.turn(reach).await;
    let said = turn.texts().concat();
    assert!(
        said.contains("kept") && said.contains("unreachable"),
        "{said}"
    );
    world.remembered(&session);
    let log = world.log();
    let made = format!("sandbox.isolation={level}");
    assert!(log.contains(&made), "{made} in {log}");
    world.end().await;
}

#[tokio::test]
async fn a_session_works_without_an_oci_runtime() {
    let Some(world) = Setup::default()
        .set("sandbox.runtime", "none")
        .start()
        .await
    else {
        return;
    };
    works(world, json!({}), "process").await;
}

#[tokio::test]
async fn a_session_works_on_a_kernel_in_user_space() {
    if !has_runsc() {
        return integration::skip("runsc is not installed (package runsc)");
    }
    let Some(world) = World::new().await else {
        return;
    };
    let hosting = json!({"isolation": {"at_least": "gvisor"}});
    works(world, hosting, "gvisor").await;
}

#[tokio::test]
async fn a_host_that_cannot_isolate_as_asked_refuses_the_session() {
    // Programs are looked for in fixed places first, so a host that has runsc has it here, too.
    if has_runsc() {
        return integration::skip("this host has every level");
    }
    let Some(world) = World::new().await else {
        return;
    };
    let agent = world.agent(&Agent::free()).await;
    let hosting = json!({"isolation": {"at_least": "gvisor"}});
    let environment = world.environment(&hosting).await;
    let wanted = json!({"agent": agent, "environment_id": environment});
    let answer = world.client.post("/v1/sessions", &wanted).await;
    let told =
        "isolation of at least `gvisor` cannot be had on this host: runsc: it is not installed";
    answer.refused(400, "invalid_request_error", told);
    world.end().await;
}

fn has_runsc() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    let places = places.into_iter().map(std::path::PathBuf::from);
    places
        .chain(std::env::split_paths(&path))
        .any(|place| place.join("runsc").is_file())
}
