//! Transcripts that programs elsewhere keep here.

use serde_json::{Value, json};

use crate::world::World;

const SESSION: &str = "/v1/session_store/-home-me/sesn%2F1";

/// All entries of a file, page by page; and how many pages that took.
async fn load(world: &World, query: &str) -> (Vec<Value>, usize) {
    let (mut all, mut page, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let answer = world
            .get(&format!("{SESSION}?{query}&page={page}"))
            .await
            .ok();
        all.extend(answer["data"].as_array().unwrap().iter().cloned());
        pages += 1;
        match answer["next_page"].as_str() {
            Some(next) => page = next.to_owned(),
            None => return (all, pages),
        }
    }
}

#[tokio::test]
async fn what_was_appended_is_loaded_in_pages_and_listed_with_its_summary() {
    let world = World::new().await;
    let entry = json!({"type": "user", "uuid": "u1", "n": [1, 0.5, null, {"a": "ü"}]});
    let body = json!({"entries": [entry], "summary": {"revision": 0, "data": {"title": "first"}}});
    let appended = world.post(SESSION, body).await.ok();
    assert_eq!(appended["revision"], 1);
    // Two that do not fit into one page.
    let long = "x".repeat(3 << 20);
    let more =
        json!({"entries": [entry, {"type": "a", "long": long}, {"type": "b", "long": long}]});
    world.post(SESSION, more).await.ok();
    let sub = json!({"subpath": "subagents/agent-1", "entries": [{"type": "sub"}]});
    world.post(SESSION, sub).await.ok();
    let (entries, pages) = load(&world, "").await;
    assert_eq!((entries.len(), pages), (3, 2));
    assert_eq!(entries[0], entry);
    let (entries, _) = load(&world, "subpath=subagents%2Fagent-1").await;
    assert_eq!(entries, [json!({"type": "sub"})]);
    let list = world.get("/v1/session_store/-home-me").await.ok();
    let shown = json!({
        "session_id": "sesn/1", "mtime": appended["mtime"],
        "summary": {"revision": 1, "data": {"title": "first"}},
    });
    assert_eq!(list["data"], json!([shown]));
    let subkeys = world.get(&format!("{SESSION}/subkeys")).await.ok();
    assert_eq!(subkeys["data"], json!(["subagents/agent-1"]));
    world.delete(SESSION).await.ok();
    world.delete(SESSION).await.ok();
    let gone = world.get(SESSION).await;
    gone.refuses(404, "not_found_error", "no entries were kept");
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_and_says_what_to_do() {
    let world = World::with(|config| config.limits.session_store_bytes = 64).await;
    let summary = json!({"entries": [], "summary": {"revision": 3, "data": {}}});
    let refused = world.post(SESSION, summary).await;
    refused.refuses(409, "conflict_error", "its revision is 0");
    let long = json!({"entries": [{"type": "x".repeat(64)}]});
    let refused = world.post(SESSION, long).await;
    assert!(refused.message().contains("limits.session_store_bytes"));
    for (path, place) in [
        (format!("{SESSION}?subpath=..%2Fx"), "subpath"),
        (format!("{SESSION}?page=-1"), "page"),
        ("/v1/session_store/a%00b/s".to_owned(), "project_key"),
        (
            format!("/v1/session_store/{}/s", "p".repeat(600)),
            "project_key",
        ),
        ("/v1/session_store/%ff/s".to_owned(), "UTF-8"),
    ] {
        let refused = world.get(&path).await;
        refused.refuses(400, "invalid_request_error", place);
    }
    assert_eq!(world.get(SESSION).await.status, 404);
}
