//! A new session from a point in another's log.

use std::sync::atomic::{AtomicU32, Ordering};

use store::*;

use crate::fixture::*;

fn event(id: &str, body: &str) -> NewEvent {
    NewEvent {
        id: id.to_owned(),
        kind: "agent.message".to_owned(),
        processed_at: at(100),
        body: body.to_owned(),
    }
}

fn line(uuid: &str) -> Write {
    Write::Transcript(vec![TranscriptEntry {
        subpath: String::new(),
        uuid: Some(uuid.to_owned()),
        body: format!("line {uuid}"),
    }])
}

fn snapshot(id: &str) -> Write {
    Write::Snapshot(NewSnapshot {
        id: id.to_owned(),
        created_at: at(50),
        files: 1,
        bytes: 2,
        written: 3,
    })
}

/// `s` with the events `e1` to `e4`, of which some refer to others, a line of the transcript after
/// each of the first three, a snapshot after the second and the last, and a queued event.
async fn bed() -> Bed {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let bodies = [
        ("e1", r#"{"id":"e1","thread":"t_old","text":"of e1"}"#),
        ("e2", r#"{"id":"e2","session":"s","call":"e1"}"#),
        ("e3", r#"{"id":"e3","calls":["e1","e2"]}"#),
        ("e4", r#"{"id":"e4"}"#),
    ];
    for (id, body) in bodies {
        let mut writes = vec![Write::Append(event(id, body))];
        match id {
            "e2" => writes.extend([line("2"), snapshot("first")]),
            "e4" => writes.push(snapshot("second")),
            other => writes.push(line(&other[1..])),
        }
        bed.store.events().commit("s", fence, writes).await.unwrap();
    }
    bed.store
        .events()
        .enqueue(&MINE, "s", vec![queued("waits")])
        .await
        .unwrap();
    bed
}

fn fork(until: i64) -> Fork {
    Fork {
        from: "s".to_owned(),
        until,
        row: session("f"),
        renamed: vec![
            ("s".to_owned(), "f".to_owned()),
            ("t_old".to_owned(), "t_new".to_owned()),
        ],
        closing: Vec::new(),
        snapshots: vec!["first".to_owned()],
    }
}

async fn carry_out(bed: &Bed, fork: Fork) -> Result<(), ForkError> {
    let count = AtomicU32::new(0);
    let mint = move || format!("new{}", count.fetch_add(1, Ordering::Relaxed) + 1);
    bed.store.sessions().fork(fork, mint).await
}

async fn bodies(bed: &Bed, session: &str) -> Vec<String> {
    let events = bed.store.events().tail(session, 0, 100).await.unwrap();
    let rows = events.into_iter().enumerate();
    rows.map(|(index, event)| {
        assert_eq!(event.seq, index as i64 + 1);
        assert_eq!(
            (event.kind.as_str(), event.processed_at),
            ("agent.message", at(100))
        );
        event.body.to_string()
    })
    .collect()
}

#[tokio::test]
async fn a_fork_has_the_log_up_to_the_point_under_new_ids() {
    let bed = bed().await;
    let closing = vec![event("end", r#"{"id":"end","result_of":"e2"}"#)];
    let wanted = Fork { closing, ..fork(3) };
    carry_out(&bed, wanted).await.unwrap();
    assert_eq!(
        bodies(&bed, "f").await,
        [
            r#"{"id":"new1","thread":"t_new","text":"of e1"}"#,
            r#"{"id":"new2","session":"f","call":"new1"}"#,
            r#"{"id":"new3","calls":["new1","new2"]}"#,
            r#"{"id":"end","result_of":"new2"}"#,
        ]
    );
    assert_eq!(bed.log("f").await[1], (2, "new2".to_owned()));
    assert!(bed.store.events().queued("f").await.unwrap().is_empty());
    let lines = bed.store.transcripts().load("f").await.unwrap();
    assert_eq!(
        lines,
        [(
            String::new(),
            ["line 1", "line 2", "line 3"].map(str::to_owned).to_vec()
        )]
    );
    let snapshots = bed.store.snapshots().list("f").await.unwrap();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(
        (snapshots[0].snapshot.id.as_str(), snapshots[0].seq),
        ("first", 2)
    );
    let totals = bed.store.usage().totals("f").await.unwrap();
    assert_eq!(totals, Totals::default());
    let row = bed.store.sessions().get(&MINE, "f").await.unwrap();
    assert_eq!(row, Some(session("f")));
}

#[tokio::test]
async fn a_snapshot_after_the_point_counts_as_one_at_the_point() {
    let bed = bed().await;
    let wanted = Fork {
        snapshots: vec!["second".to_owned()],
        ..fork(1)
    };
    carry_out(&bed, wanted).await.unwrap();
    let latest = bed.store.snapshots().at("f", 1).await.unwrap().unwrap();
    assert_eq!((latest.snapshot.id.as_str(), latest.seq), ("second", 1));
}

#[tokio::test]
async fn two_forks_and_their_origin_go_on_apart() {
    let bed = bed().await;
    let before = bodies(&bed, "s").await;
    carry_out(&bed, fork(2)).await.unwrap();
    let again = Fork {
        row: session("g"),
        ..fork(2)
    };
    let mint = {
        let count = AtomicU32::new(0);
        move || format!("other{}", count.fetch_add(1, Ordering::Relaxed))
    };
    bed.store.sessions().fork(again, mint).await.unwrap();
    let fence = bed.claim("f").await;
    let more = vec![append("more"), line("9"), snapshot("third")];
    bed.store.events().commit("f", fence, more).await.unwrap();
    assert_eq!(bed.log("f").await.len(), 3);
    assert_eq!(bed.log("g").await.len(), 2);
    assert_eq!(bodies(&bed, "s").await, before);
    for other in ["s", "g"] {
        let third = bed.store.snapshots().list(other).await.unwrap();
        assert!(third.iter().all(|row| row.snapshot.id != "third"));
        assert!(!bed.store.transcripts().contains(other, "9").await.unwrap());
    }
    bed.store.sessions().delete(&MINE, "s").await.unwrap();
    assert_eq!(bed.log("g").await.len(), 2);
    assert_eq!(bed.store.snapshots().list("g").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_fork_leaves_nothing() {
    let bed = bed().await;
    let fence = bed.claim("s").await;
    let status = async |status| {
        let write = Write::Status {
            status,
            attention: false,
            updated_at: at(60),
        };
        bed.store
            .events()
            .commit("s", fence, vec![write])
            .await
            .unwrap();
    };
    for busy in [Status::Running, Status::Rescheduling] {
        status(busy).await;
        let refused = carry_out(&bed, fork(2)).await;
        assert!(matches!(refused, Err(ForkError::Busy { status }) if status == busy));
    }
    status(Status::Idle).await;
    let absent = Fork {
        from: "nobody".to_owned(),
        ..fork(2)
    };
    let refused = carry_out(&bed, absent).await;
    assert!(matches!(refused, Err(ForkError::NotFound)));
    let mut elsewhere = fork(2);
    elsewhere.row.workspace_id = OTHER_WS.to_owned();
    let refused = carry_out(&bed, elsewhere).await;
    assert!(matches!(refused, Err(ForkError::NotFound)));
    let taken = bed.store.sessions().fork(fork(2), || "e4".to_owned()).await;
    let duplicate = ForkError::Create(CreateSessionError::Duplicate);
    assert_eq!(taken.unwrap_err().to_string(), duplicate.to_string());
    assert_eq!(bed.store.sessions().get(&MINE, "f").await.unwrap(), None);
    bed.store
        .environments()
        .archive(&MINE, "env_1", at(70))
        .await
        .unwrap();
    let refused = carry_out(&bed, fork(2)).await;
    let archived = CreateSessionError::EnvironmentArchived;
    assert_eq!(refused.unwrap_err().to_string(), archived.to_string());
    assert!(bed.log("f").await.is_empty());
    // A session that is over can still be forked.
    status(Status::Terminated).await;
}
