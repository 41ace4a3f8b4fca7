//! Models.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn models_are_listed_in_their_own_page_shape() {
    let world = World::new().await;
    let first = world.get("/v1/models?limit=2").await.ok();
    assert_eq!(first["has_more"], true);
    assert_eq!(first["first_id"], first["data"][0]["id"]);
    assert_eq!(first["last_id"], first["data"][1]["id"]);
    let next = world
        .get(&format!(
            "/v1/models?limit=2&after_id={}",
            first["last_id"].as_str().unwrap()
        ))
        .await
        .ok();
    assert_ne!(next["data"][0]["id"], first["data"][1]["id"]);
    assert_eq!(
        world.get("/v1/models?lifecycle[]=retired").await.ok()["data"],
        json!([])
    );
    world.get("/v1/models?lifecycle[]=new").await.refuses(
        400,
        "invalid_request_error",
        "lifecycle[]: must be one of",
    );
    world
        .get("/v1/models?after_id=x")
        .await
        .refuses(400, "invalid_request_error", "after_id: ");
}

#[tokio::test]
async fn a_model_has_every_key_and_an_alias_leads_to_it() {
    let world = World::new().await;
    let model = world.get("/v1/models/claude-opus-4-5").await.ok();
    assert_eq!(
        (&model["id"], &model["type"]),
        (&json!("claude-opus-4-5-20251101"), &json!("model"))
    );
    for key in [
        "deprecated_at",
        "retires_at",
        "line",
        "max_input_tokens",
        "max_tokens",
        "capabilities",
    ] {
        assert_eq!(model.get(key), Some(&Value::Null), "{key}");
    }
    world
        .get("/v1/models/claude-nobody")
        .await
        .refuses(404, "not_found_error", "claude-nobody");
}
