//! The log: queueing, numbering, reading, transcripts.

use std::sync::Arc;

use store::*;

use crate::fixture::*;

#[tokio::test]
async fn queued_events_get_numbers_when_they_are_processed() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let events = bed.store.events();
    events
        .enqueue(&MINE, "s", vec![queued("a"), queued("b")])
        .await
        .unwrap();
    assert_eq!(events.last_seq("s").await.unwrap(), 0);
    let done = events
        .commit("s", fence, vec![process("b"), append("x"), process("a")])
        .await
        .unwrap();
    let numbers: Vec<_> = done
        .iter()
        .map(|done| (done.seq, done.id.as_str()))
        .collect();
    assert_eq!(numbers, [(1, "b"), (2, "x"), (3, "a")]);
    let tail = events.tail("s", 0, 10).await.unwrap();
    assert_eq!(&*tail[0].body, r#"{"id":"b","processed":true}"#);
    assert_eq!(
        (tail[1].kind.as_str(), tail[1].processed_at),
        ("agent.message", at(100))
    );
    assert!(events.queued("s").await.unwrap().is_empty());
    assert_eq!(events.last_seq("s").await.unwrap(), 3);
}

#[tokio::test]
async fn a_refused_commit_keeps_nothing() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let events = bed.store.events();
    events.enqueue(&MINE, "s", vec![queued("a")]).await.unwrap();
    let writes = vec![
        process("a"),
        append("x"),
        Write::Usage("lost".to_owned()),
        process("absent"),
    ];
    let refused = events.commit("s", fence, writes).await;
    assert!(matches!(refused, Err(CommitError::NotQueued { id }) if id == "absent"));
    let refused = events
        .commit("s", fence, vec![append("x"), append("x")])
        .await;
    assert!(matches!(refused, Err(CommitError::Duplicate { id }) if id == "x"));
    assert!(bed.log("s").await.is_empty());
    assert_eq!(events.queued("s").await.unwrap().len(), 1);
    assert_eq!(
        bed.store
            .sessions()
            .get(&MINE, "s")
            .await
            .unwrap()
            .unwrap()
            .usage,
        "{}"
    );
    events.commit("s", fence, vec![process("a")]).await.unwrap();
    let twice = events.commit("s", fence, vec![process("a")]).await;
    assert!(matches!(twice, Err(CommitError::NotQueued { .. })));
}

#[tokio::test]
async fn one_refused_request_does_not_harm_its_neighbours() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let events = bed.store.events();
    let commits = (0..50).map(|number| {
        let write = if number % 3 == 0 {
            process("absent")
        } else {
            append(&format!("e{number}"))
        };
        events.commit("s", fence, vec![write])
    });
    let mut kept = 0;
    for (number, outcome) in futures_join(commits).await.into_iter().enumerate() {
        assert_eq!(outcome.is_ok(), number % 3 != 0, "{number}");
        kept += i64::from(outcome.is_ok());
    }
    let log = bed.log("s").await;
    assert_eq!(
        log.iter().map(|event| event.0).collect::<Vec<_>>(),
        (1..=kept).collect::<Vec<_>>()
    );
}

/// Drives all futures together and returns their outcomes in order.
async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outcomes: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *outcome = Some(value);
            }
        }
        match outcomes.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_commit_changes_the_session_with_its_events() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let title = SessionUpdate {
        title: Some(Some("t".to_owned())),
        ..SessionUpdate::default()
    };
    let writes = vec![
        Write::Status {
            status: Status::Idle,
            attention: true,
            updated_at: at(60),
        },
        Write::Usage("u".to_owned()),
        Write::Stats("st".to_owned()),
        Write::ClaudeSession("c".to_owned()),
        Write::Update {
            update: title,
            updated_at: at(61),
        },
    ];
    bed.store.events().commit("s", fence, writes).await.unwrap();
    let row = bed.store.sessions().get(&MINE, "s").await.unwrap().unwrap();
    assert!(row.attention);
    assert_eq!(
        (
            row.usage.as_str(),
            row.stats.as_str(),
            row.claude_session.as_str()
        ),
        ("u", "st", "c")
    );
    assert_eq!((row.title.as_deref(), row.updated_at), (Some("t"), at(61)));
    bed.store
        .events()
        .commit("s", fence, vec![Write::Archive { at: at(62) }])
        .await
        .unwrap();
    let row = bed.store.sessions().get(&MINE, "s").await.unwrap().unwrap();
    assert_eq!(
        (row.status, row.attention, row.archived_at),
        (Status::Terminated, false, Some(at(62)))
    );
}

#[tokio::test]
async fn a_full_queue_refuses_whole_requests_until_it_is_worked_off() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let events = bed.store.events();
    let many = (0..QUEUE_LIMIT)
        .map(|number| queued(&format!("q{number}")))
        .collect();
    events.enqueue(&MINE, "s", many).await.unwrap();
    let more = events.enqueue(&MINE, "s", vec![queued("more")]).await;
    assert!(matches!(
        more,
        Err(EnqueueError::TooMany { limit: QUEUE_LIMIT })
    ));
    events
        .commit("s", fence, vec![process("q0")])
        .await
        .unwrap();
    let two = events
        .enqueue(&MINE, "s", vec![queued("one"), queued("two")])
        .await;
    assert!(matches!(two, Err(EnqueueError::TooMany { .. })));
    events
        .enqueue(&MINE, "s", vec![queued("one")])
        .await
        .unwrap();
    assert_eq!(events.queued("s").await.unwrap().len(), QUEUE_LIMIT);
}

#[tokio::test]
async fn a_duplicate_id_is_refused_even_across_sessions() {
    let bed = Bed::with_session("s").await;
    bed.store
        .sessions()
        .create(session("t"), Vec::new())
        .await
        .unwrap();
    bed.store
        .events()
        .enqueue(&MINE, "s", vec![queued("a")])
        .await
        .unwrap();
    let again = bed
        .store
        .events()
        .enqueue(&MINE, "t", vec![queued("b"), queued("a")])
        .await;
    assert!(matches!(again, Err(EnqueueError::Duplicate)));
    assert!(bed.store.events().queued("t").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_event_is_found_by_its_id_within_its_session() {
    let bed = Bed::with_session("s").await;
    bed.store
        .sessions()
        .create(session("t"), Vec::new())
        .await
        .unwrap();
    let fence = bed.claim("s").await;
    let events = bed.store.events();
    events.enqueue(&MINE, "s", vec![queued("a")]).await.unwrap();
    events.commit("s", fence, vec![append("x")]).await.unwrap();
    assert!(
        matches!(events.find("s", "a").await.unwrap(), Some(Listed::Queued(event)) if event.id == "a")
    );
    assert!(
        matches!(events.find("s", "x").await.unwrap(), Some(Listed::Numbered(event)) if event.seq == 1)
    );
    assert!(events.find("t", "x").await.unwrap().is_none());
    assert!(events.find("s", "y").await.unwrap().is_none());
}

#[tokio::test]
async fn bodies_come_back_byte_for_byte() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let body =
        "{ \"text\" : \"\u{0}\u{2028}\\u00e9 é \u{1f980}\", \"big\": 12345678901234567890.10 }\n";
    let event = NewEvent {
        id: "x".to_owned(),
        kind: "agent.message".to_owned(),
        processed_at: at(1),
        body: body.to_owned(),
    };
    bed.store
        .events()
        .commit("s", fence, vec![Write::Append(event)])
        .await
        .unwrap();
    assert_eq!(
        &*bed.store.events().tail("s", 0, 1).await.unwrap()[0].body,
        body
    );
    let page = bed
        .store
        .events()
        .list(&MINE, "s", EventQuery::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&**page.rows[0].body(), body);
}

#[tokio::test]
async fn a_reader_that_follows_the_tail_sees_each_event_once_and_in_order() {
    let bed = Arc::new(Bed::with_session("s").await);
    let fence = bed.claim("s").await;
    let writer = tokio::spawn({
        let bed = Arc::clone(&bed);
        async move {
            for number in 0..200 {
                let writes = vec![append(&format!("a{number}")), append(&format!("b{number}"))];
                bed.store.events().commit("s", fence, writes).await.unwrap();
            }
        }
    });
    let mut seen = 0;
    while seen < 400 {
        for event in bed.store.events().tail("s", seen, 7).await.unwrap() {
            assert_eq!(event.seq, seen + 1);
            seen = event.seq;
        }
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn transcript_lines_keep_their_order_and_come_once_per_uuid_and_file() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let line = |subpath: &str, uuid: Option<&str>, body: &str| TranscriptEntry {
        subpath: subpath.to_owned(),
        uuid: uuid.map(str::to_owned),
        body: body.to_owned(),
    };
    let first = vec![
        line("", Some("1"), "one"),
        line("", None, "mode"),
        line("subagents/agent-x", Some("1"), "sub"),
        line("", Some("2"), "two"),
    ];
    let second = vec![
        line("", Some("2"), "again"),
        line("", None, "mode"),
        line("", Some("3"), "three"),
    ];
    for lines in [first, second] {
        bed.store
            .events()
            .commit("s", fence, vec![Write::Transcript(lines)])
            .await
            .unwrap();
    }
    let files = bed.store.transcripts().load("s").await.unwrap();
    let main = ["one", "mode", "two", "mode", "three"]
        .map(str::to_owned)
        .to_vec();
    let expected = [
        (String::new(), main),
        ("subagents/agent-x".to_owned(), vec!["sub".to_owned()]),
    ];
    assert_eq!(files, expected);
    assert!(bed.store.transcripts().contains("s", "3").await.unwrap());
    assert!(!bed.store.transcripts().contains("s", "4").await.unwrap());
    assert!(!bed.store.transcripts().contains("t", "3").await.unwrap());
}
