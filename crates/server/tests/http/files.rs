//! Files that sessions produced.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use store::{FileRow, Realm};

use crate::world::World;

/// A file of a session, put there as a session does it.
pub async fn put(world: &World, session: &str, id: &str, filename: &str, content: &[u8]) {
    std::fs::create_dir_all(world.blobs.dir()).unwrap();
    std::fs::write(world.blobs.path(id), content).unwrap();
    // Another content for each: the same again would be no new file.
    let mut sha256 = [0; 32];
    sha256
        .iter_mut()
        .zip(id.bytes())
        .for_each(|(to, byte)| *to = byte);
    let row = FileRow {
        id: id.to_owned(),
        workspace_id: store::DEFAULT_WORKSPACE.to_owned(),
        session_id: Some(session.to_owned()),
        filename: filename.to_owned(),
        mime_type: "text/html".to_owned(),
        size_bytes: content.len() as u64,
        sha256,
        created_at: world.clock.now(),
        downloadable: true,
    };
    world.store.files().insert(row).await.unwrap();
}

#[tokio::test]
async fn a_file_is_shown_with_every_key_and_its_content_is_the_bytes() {
    let world = World::new().await;
    let session = world.session().await;
    let content: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
    put(&world, &session, "file_1", "site/ü \"1\".html", &content).await;
    let shown = json!({
        "id": "file_1", "type": "file", "filename": "site/ü \"1\".html", "mime_type": "text/html",
        "size_bytes": 200_000, "created_at": "2026-11-22T12:00:00.000000Z", "downloadable": true,
        "expires_at": null, "scope": {"type": "session", "id": session},
    });
    assert_eq!(world.get("/v1/files/file_1").await.ok(), shown);
    let request = world.request(Method::GET, "/v1/files/file_1/content");
    let answer = request.send().await.unwrap();
    let headers = answer.headers().clone();
    assert_eq!(headers["content-type"], "text/html");
    assert_eq!(headers["content-length"], "200000");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(
        headers["content-disposition"],
        "attachment; filename*=UTF-8''%C3%BC%20%221%22.html"
    );
    assert_eq!(answer.bytes().await.unwrap(), content);
}

#[tokio::test]
async fn files_are_listed_by_session_by_id_and_page_by_page() {
    let world = World::new().await;
    let (one, two) = (world.session().await, world.session().await);
    for (session, id) in [(&one, "file_1"), (&two, "file_2"), (&one, "file_3")] {
        put(&world, session, id, "f", b"").await;
        world.clock.advance(TimeDelta::seconds(1));
    }
    let ids = async |query: &str| {
        let page = world.get(&format!("/v1/files{query}")).await.ok();
        let files = page["data"].as_array().unwrap().clone();
        let ids: Vec<String> = files
            .iter()
            .map(|file| file["id"].as_str().unwrap().to_owned())
            .collect();
        (ids.join(" "), page["next_page"].as_str().map(str::to_owned))
    };
    assert_eq!(ids("").await.0, "file_3 file_2 file_1");
    assert_eq!(ids(&format!("?scope_id={one}")).await.0, "file_3 file_1");
    assert_eq!(ids("?scope_id=sesn_other").await.0, "");
    assert_eq!(
        ids("?ids[]=file_2&ids[]=file_9&ids[]=file_2").await,
        ("file_2".to_owned(), None)
    );
    let (first, next) = ids("?limit=2").await;
    assert_eq!(first, "file_3 file_2");
    let (second, end) = ids(&format!("?limit=2&page={}", next.unwrap())).await;
    assert_eq!((second.as_str(), end), ("file_1", None));
    let both = world.get("/v1/files?ids[]=file_1&limit=2").await;
    both.refuses(400, "invalid_request_error", "ids: does not go with");
    let many: Vec<String> = (0..101).map(|number| format!("ids[]=f{number}")).collect();
    let many = world.get(&format!("/v1/files?{}", many.join("&"))).await;
    many.refuses(400, "invalid_request_error", "ids: at most 100 items");
}

#[tokio::test]
async fn a_deleted_file_is_gone_with_its_content() {
    let world = World::new().await;
    let session = world.session().await;
    put(&world, &session, "file_1", "f", b"x").await;
    let deleted = world.delete("/v1/files/file_1").await.ok();
    assert_eq!(deleted, json!({"id": "file_1", "type": "file_deleted"}));
    assert!(!world.blobs.path("file_1").exists());
    for path in ["/v1/files/file_1", "/v1/files/file_1/content"] {
        world
            .get(path)
            .await
            .refuses(404, "not_found_error", "file_1");
    }
    let again = world.delete("/v1/files/file_1").await;
    again.refuses(404, "not_found_error", "file_1");
}

#[tokio::test]
async fn what_is_not_for_clients_is_refused_and_what_is_lost_is_a_failure() {
    let world = World::new().await;
    let session = world.session().await;
    put(&world, &session, "file_1", "f", b"x").await;
    std::fs::remove_file(world.blobs.path("file_1")).unwrap();
    let lost = world.get("/v1/files/file_1/content").await;
    lost.refuses(500, "api_error", "the server failed");
    let realm = Realm::of(store::DEFAULT_WORKSPACE);
    let row = world.store.files().get(&realm, "file_1");
    let row = FileRow {
        id: "file_2".to_owned(),
        filename: "g".to_owned(),
        downloadable: false,
        ..row.await.unwrap().unwrap()
    };
    world.store.files().insert(row).await.unwrap();
    let closed = world.get("/v1/files/file_2/content").await;
    closed.refuses(400, "invalid_request_error", "not for clients");
    assert_eq!(
        closed.body["error"]["details"]["error_code"],
        "file_not_downloadable"
    );
    let upload = world.post("/v1/files", json!({})).await;
    upload.refuses(404, "not_found_error", "uploads of files");
}
