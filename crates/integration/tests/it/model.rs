//! A model API that fails in every way it can: the session tells how, ends the turn or goes on with
//! it, and takes the next message.

use integration::{Agent, Setup, World};

/// One retry, and little patience with silence.
async fn world() -> Option<World> {
    let setup = Setup::default()
        .set("model.max_retries", 1)
        .set("model.idle_timeout_ms", 1500);
    setup.start().await
}

#[tokio::test]
async fn a_failing_model_is_told_by_its_type_and_the_next_message_works() {
    let Some(world) = world().await else { return };
    let session = world.session(&Agent::free()).await;
    let failures = [
        (401, "authentication_error", "model_request_failed_error"),
        (500, "api_error", "model_request_failed_error"),
        (529, "overloaded_error", "model_overloaded_error"),
        (429, "rate_limit_error", "model_rate_limited_error"),
    ];
    for (status, kind, told) in failures {
        let turn = session.turn(&format!("@error {status} {kind}")).await;
        let errors = turn.errors();
        let last = errors.last().unwrap();
        assert_eq!(
            (last.0.as_str(), last.2.as_str()),
            (told, "exhausted"),
            "{errors:?}"
        );
        assert!(
            errors
                .iter()
                .any(|(_, message, _)| message.contains(&status.to_string())),
            "{errors:?}"
        );
        assert_eq!(
            (turn.texts(), turn.stop_reason().as_str()),
            (vec![], "retries_exhausted")
        );
        session.turn("@say fine").await.answered("fine");
    }
    world.end().await;
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_as_long_as_the_model_says() {
    let Some(world) = world().await else { return };
    let session = world.session(&Agent::free()).await;
    let turn = session
        .turn("@error 429 rate_limit_error retry-after=2 times=1\n@say fine")
        .await;
    turn.told(
        "model_rate_limited_error",
        "the model API answered 429; retry 1 of 1 in 2.",
        "retrying",
    );
    assert_eq!(turn.errors().len(), 1);
    assert_eq!(
        (turn.texts(), turn.stop_reason().as_str()),
        (vec!["fine".to_owned()], "end_turn")
    );
    let asked = world.asked();
    let [first, second] = [asked.len() - 2, asked.len() - 1].map(|at| asked[at].at);
    assert!(second.duration_since(first).unwrap().as_secs_f64() >= 1.9);
    world.end().await;
}

#[tokio::test]
async fn an_overloaded_model_is_asked_again() {
    let Some(world) = world().await else { return };
    let session = world.session(&Agent::free()).await;
    let turn = session
        .turn("@error 529 overloaded_error times=1\n@say fine")
        .await;
    turn.told(
        "model_overloaded_error",
        "the model API answered 529; retry 1 of 1",
        "retrying",
    );
    assert_eq!(
        (turn.texts(), turn.stop_reason().as_str()),
        (vec!["fine".to_owned()], "end_turn")
    );
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_is_cut_before_it_says_anything_is_asked_for_again() {
    let Some(world) = world().await else { return };
    let session = world.session(&Agent::free()).await;
    let turn = session.turn("@cut times=1\n@say the whole text").await;
    assert_eq!(turn.texts(), ["the whole text"], "{turn:#?}");
    assert_eq!(turn.stop_reason(), "end_turn");
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_is_cut_later_is_said_once() {
    let Some(world) = world().await else { return };
    let session = world.session(&Agent::free()).await;
    let turn = session
        .turn("@say one\n@cut times=1\n@next\n@say two")
        .await;
    // Whether the end of the text came before the cut decides whether it is kept or asked for anew.
    let texts = turn.texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert!(matches!(texts[..], ["one"] | ["one", "two"]), "{turn:#?}");
    assert_eq!(turn.stop_reason(), "end_turn");
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn a_model_that_goes_silent_is_asked_again_and_then_given_up() {
    let Some(world) = world().await else { return };
    let session = world.session(&Agent::free()).await;
    for script in ["@silent times=1\n@say fine", "@stall times=1\n@say fine"] {
        let turn = session.turn(script).await;
        assert_eq!(
            (turn.texts(), turn.stop_reason().as_str()),
            (vec!["fine".to_owned()], "end_turn"),
            "{turn:#?}"
        );
    }
    let turn = session.turn("@silent").await;
    let errors = turn.errors();
    assert_eq!(
        (
            errors.last().unwrap().2.as_str(),
            turn.stop_reason().as_str()
        ),
        ("exhausted", "retries_exhausted"),
        "{errors:?}"
    );
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn a_model_that_does_not_exist_is_named() {
    let Some(world) = world().await else { return };
    let session = world.session(&Agent::free().on("claude-nonsense-9")).await;
    let turn = session.turn("@say never").await;
    turn.told(
        "model_request_failed_error",
        "claude-nonsense-9",
        "exhausted",
    );
    assert_eq!(
        (turn.texts(), turn.stop_reason().as_str()),
        (vec![], "retries_exhausted")
    );
    world.end().await;
}

#[tokio::test]
async fn a_refusal_is_the_stop_reason() {
    let Some(world) = world().await else { return };
    let session = world.session(&Agent::free()).await;
    // The CLI tries once more by itself.
    let refusal = "@say I will not\n@stop refusal\n@next\n@say Still not\n@stop refusal";
    let turn = session.turn(refusal).await;
    assert_eq!(turn.stop_reason(), "refusal", "{turn:#?}");
    let idle = turn.only("session.status_idle");
    assert_eq!(idle["stop_details"]["type"], "refusal");
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_reached_its_length_is_kept_and_the_turn_ends() {
    let Some(world) = world().await else { return };
    let session = world.session(&Agent::free()).await;
    let turn = session.turn("@say half of a\n@stop max_tokens").await;
    assert_eq!(turn.texts()[0], "half of a", "{turn:#?}");
    assert!(!turn.stop_reason().is_empty());
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

#[tokio::test]
async fn a_stream_that_makes_no_sense_ends_the_turn_or_is_asked_for_again() {
    let Some(world) = world().await else { return };
    let session = world.session(&Agent::free()).await;
    for script in [
        "@raw this is no json",
        "@raw {\"type\":\"content_block_delta\",\"index\":7,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}",
        "@raw {\"type\":\"of_tomorrow\",\"deep\":[[[[]]]]}\n@say fine",
        "@break overloaded_error times=1\n@say fine",
        "@break api_error",
    ] {
        let turn = session.turn(script).await;
        let told = !turn.errors().is_empty() || turn.stop_reason() == "end_turn";
        assert!(told, "{script}: {turn:#?}");
        session.turn("@say and on").await.answered("and on");
    }
    world.end().await;
}
