//! What clients do wrong, or all at once, against a session that works.

use futures::future::join_all;
use integration::{Agent, Events, World};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn bad_input_is_refused_by_name_and_leaves_no_trace() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let text = |text: Value| json!([{"type": "user.message", "content": [{"type": "text", "text": text}]}]);
    let good = text(json!("@say never"))[0].clone();
    let wrong = [
        (json!({"events": text(json!(7))}), "events.0.content.0.text"),
        (
            json!({"events": [good, {"type": "user.message"}]}),
            "events.1.content",
        ),
        (json!({"events": "all"}), "events"),
        (json!({"events": [good], "colour": 1}), "colour"),
        (
            json!({"events": [{"type": "user.message", "content": [], "mood": "good"}]}),
            "events.0",
        ),
        (
            json!({"events": [{"type": "agent.message", "content": []}]}),
            "agent.message",
        ),
        (
            json!({"events": [good, {"type": "user.tool_confirmation", "tool_use_id": "sevt_x", "result": "allow"}]}),
            "events.1",
        ),
    ];
    for (body, named) in wrong {
        let answer = world.client.post(&session.path("/events"), &body).await;
        answer.refused(400, "invalid_request_error", named);
    }
    let raw: [&[u8]; 3] = [
        b"{\"events\":[{\"type\":\"user.message\",\"content\":[{\"type\":\"text\",\"text\":\"\xff\xfe\"}]}]}",
        b"{\"events\":[",
        b"",
    ];
    for body in raw {
        let request = world.client.request(Method::POST, &session.path("/events"));
        let request = request
            .header("content-type", "application/json")
            .body(body.to_vec());
        world
            .client
            .send(request)
            .await
            .refused(400, "invalid_request_error", "");
    }
    assert_eq!(session.list().await.len(), 0);
    assert_eq!(session.show().await["status"], "idle");
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn a_message_of_five_megabytes_reaches_the_model_whole() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let ballast = "é".repeat(5 * 1024 * 1024 / 2);
    session
        .turn(&format!("{ballast}\n@say got it"))
        .await
        .answered("got it");
    let request = world.asked().pop().unwrap().json().to_string();
    assert!(request.contains(&ballast), "of {} bytes", request.len());
    // By the scripted model's count it fills the window: the next turn begins with a summary.
    let turn = session.turn("@say and on").await;
    turn.answered("and on");
    assert_eq!(turn.of("agent.thread_context_compacted").len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_session_stays() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let body = format!("{{\"events\":[{}", " ".repeat(33 * 1024 * 1024));
    let request = world
        .client
        .request(Method::POST, &session.path("/events"))
        .body(body);
    let request = request.header("content-type", "application/json");
    world
        .client
        .send(request)
        .await
        .refused(413, "request_too_large", "");
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn twenty_sends_at_once_are_all_there_once_and_in_each_clients_order() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    // Four clients, five messages each, one after the other; all clients at once.
    let path = session.path("/events");
    let client = |number: usize| {
        let (world, session, path) = (&world, &session, &path);
        async move {
            let mut ids = Vec::new();
            for message in 0..5 {
                let text = session.message(&format!("@say {number}.{message}"));
                let answer = world
                    .client
                    .post(path, &json!({"events": [text]}))
                    .await
                    .ok();
                ids.push(answer["data"][0]["id"].as_str().unwrap().to_owned());
            }
            ids
        }
    };
    let sent = join_all((0..4).map(client)).await;
    let mut turn = Events(Vec::new());
    while turn.texts().len() < 20 {
        turn.0.extend(session.idle().await.0);
    }
    let log: Vec<String> = turn
        .of("user.message")
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(log.len(), 20);
    let texts = turn.texts();
    for (number, ids) in sent.iter().enumerate() {
        let places: Vec<usize> = ids
            .iter()
            .map(|id| log.iter().position(|of| of == id).unwrap())
            .collect();
        assert!(places.is_sorted(), "client {number}: {places:?}");
        for (message, place) in places.iter().enumerate() {
            assert_eq!(
                texts[*place],
                format!("{number}.{message}"),
                "answers come in the log's order"
            );
        }
    }
    world.end().await;
}

#[tokio::test]
async fn an_interrupt_before_the_start_and_after_the_end_does_nothing() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.interrupt().await;
    session.event("user.interrupt").await;
    assert_eq!(session.show().await["status"], "idle");
    session.turn("@say one").await.answered("one");
    session.interrupt().await;
    session.event("user.interrupt").await;
    session.turn("@say two").await.answered("two");
    world.remembered(&session);
    world.end().await;
}

#[tokio::test]
async fn an_interrupt_before_claude_is_there_ends_the_turn_and_the_next_message_works() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let message = session.message("@slow 50\n@repeat 200 word");
    session
        .send(&json!([message, {"type": "user.interrupt"}]))
        .await
        .ok();
    let turn = session.idle().await;
    assert_eq!(
        (turn.errors(), turn.stop_reason().as_str()),
        (vec![], "end_turn")
    );
    assert_eq!(turn.texts().len(), 0, "{turn:#?}");
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn an_interrupt_and_a_message_in_one_request_redirect_the_agent() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.say("@slow 40\n@repeat 2000 word").await;
    session.event("event_delta").await;
    let message = session.message("@say the other way");
    session
        .send(&json!([{"type": "user.interrupt"}, message]))
        .await
        .ok();
    let turn = session.idle().await;
    assert_eq!(turn.texts().last().unwrap(), "the other way");
    assert_eq!(
        (turn.errors(), turn.stop_reason().as_str()),
        (vec![], "end_turn")
    );
    world.remembered(&session);
    world.end().await;
}
