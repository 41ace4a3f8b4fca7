//! Sessions: creation, changes, the lease, deletion.

use store::*;

use crate::fixture::*;

#[tokio::test]
async fn a_session_comes_back_as_it_was_made() {
    let bed = Bed::new().await;
    let row = SessionRow {
        title: Some("a title".to_owned()),
        budget: Some(r#"{"amount":"25"}"#.to_owned()),
        status: Status::Running,
        ..session("sesn_1")
    };
    bed.store
        .sessions()
        .create(row.clone(), vec![queued("a"), queued("b")])
        .await
        .unwrap();
    assert_eq!(
        bed.store.sessions().get(&MINE, "sesn_1").await.unwrap(),
        Some(row)
    );
    let waiting = bed.store.events().queued("sesn_1").await.unwrap();
    assert_eq!(
        waiting
            .iter()
            .map(|event| event.id.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[tokio::test]
async fn a_session_whose_first_events_are_refused_does_not_exist() {
    let bed = Bed::new().await;
    let sessions = bed.store.sessions();
    let twice = sessions
        .create(session("sesn_1"), vec![queued("a"), queued("a")])
        .await;
    assert!(matches!(twice, Err(CreateSessionError::Duplicate)));
    let many = (0..=QUEUE_LIMIT)
        .map(|number| queued(&number.to_string()))
        .collect();
    let many = sessions.create(session("sesn_1"), many).await;
    assert!(matches!(
        many,
        Err(CreateSessionError::TooMany { limit: QUEUE_LIMIT })
    ));
    assert!(sessions.get(&MINE, "sesn_1").await.unwrap().is_none());
}

#[tokio::test]
async fn a_session_needs_a_live_agent_and_environment() {
    let bed = Bed::new().await;
    let sessions = bed.store.sessions();
    let create = |row| sessions.create(row, Vec::new());
    let row = || session("sesn_1");
    let agent = SessionRow {
        agent_id: "agent_9".to_owned(),
        ..row()
    };
    assert!(matches!(
        create(agent).await,
        Err(CreateSessionError::AgentNotFound)
    ));
    let version = SessionRow {
        agent_version: 2,
        ..row()
    };
    assert!(matches!(
        create(version).await,
        Err(CreateSessionError::AgentNotFound)
    ));
    let environment = SessionRow {
        environment_id: "env_9".to_owned(),
        ..row()
    };
    assert!(matches!(
        create(environment).await,
        Err(CreateSessionError::EnvironmentNotFound)
    ));
    bed.store
        .environments()
        .archive(&MINE, "env_1", at(9))
        .await
        .unwrap();
    assert!(matches!(
        create(row()).await,
        Err(CreateSessionError::EnvironmentArchived)
    ));
    bed.store
        .agents()
        .archive(&MINE, "agent_1", at(9))
        .await
        .unwrap();
    assert!(matches!(
        create(row()).await,
        Err(CreateSessionError::AgentArchived)
    ));
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_keeps_the_rest() {
    let bed = Bed::with_session("sesn_1").await;
    let title = SessionUpdate {
        title: Some(Some("t".to_owned())),
        ..SessionUpdate::default()
    };
    bed.store
        .sessions()
        .update(&MINE, "sesn_1", title, at(20))
        .await
        .unwrap()
        .unwrap();
    let rest = SessionUpdate {
        metadata: Some(r#"{"a":"b"}"#.to_owned()),
        agent: Some("{}".to_owned()),
        budget: Some(Some("{}".to_owned())),
        title: None,
    };
    let row = bed
        .store
        .sessions()
        .update(&MINE, "sesn_1", rest, at(21))
        .await
        .unwrap()
        .unwrap();
    let expected = SessionRow {
        title: Some("t".to_owned()),
        metadata: r#"{"a":"b"}"#.to_owned(),
        agent: "{}".to_owned(),
        budget: Some("{}".to_owned()),
        updated_at: at(21),
        ..session("sesn_1")
    };
    assert_eq!(row, expected);
    let clear = SessionUpdate {
        title: Some(None),
        budget: Some(None),
        ..SessionUpdate::default()
    };
    let row = bed
        .store
        .sessions()
        .update(&MINE, "sesn_1", clear, at(22))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.title, row.budget), (None, None));
}

#[tokio::test]
async fn an_archived_session_is_terminated_once_and_takes_no_events() {
    let bed = Bed::with_session("sesn_1").await;
    bed.store
        .sessions()
        .archive(&MINE, "sesn_1", at(30))
        .await
        .unwrap()
        .unwrap();
    let row = bed
        .store
        .sessions()
        .archive(&MINE, "sesn_1", at(31))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.status, row.archived_at, row.updated_at),
        (Status::Terminated, Some(at(30)), at(30))
    );
    let enqueue = bed
        .store
        .events()
        .enqueue(&MINE, "sesn_1", vec![queued("a")])
        .await;
    assert!(matches!(
        enqueue,
        Err(EnqueueError::Closed {
            status: Status::Terminated
        })
    ));
}

#[tokio::test]
async fn a_deleted_session_leaves_nothing() {
    let bed = Bed::with_session("sesn_1").await;
    let fence = bed.claim("sesn_1").await;
    bed.store
        .events()
        .enqueue(&MINE, "sesn_1", vec![queued("a"), queued("b")])
        .await
        .unwrap();
    let line = TranscriptEntry {
        subpath: String::new(),
        uuid: None,
        body: "{}".to_owned(),
    };
    let writes = vec![process("a"), append("c"), Write::Transcript(vec![line])];
    bed.store
        .events()
        .commit("sesn_1", fence, writes)
        .await
        .unwrap();
    assert!(bed.store.sessions().delete(&MINE, "sesn_1").await.unwrap());
    assert!(!bed.store.sessions().delete(&MINE, "sesn_1").await.unwrap());

    let late = bed
        .store
        .events()
        .commit("sesn_1", fence, vec![append("d")])
        .await;
    assert!(matches!(late, Err(CommitError::NotFound)));
    // The same ids are free again, and nothing of the old session shows through.
    bed.store
        .sessions()
        .create(session("sesn_1"), Vec::new())
        .await
        .unwrap();
    assert!(bed.log("sesn_1").await.is_empty());
    assert!(
        bed.store
            .events()
            .queued("sesn_1")
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        bed.store
            .transcripts()
            .load("sesn_1")
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        bed.store.usage().totals("sesn_1").await.unwrap(),
        Totals::default()
    );
    bed.store
        .events()
        .enqueue(&MINE, "sesn_1", vec![queued("a")])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_commit_of_a_former_owner_is_fenced() {
    let bed = Bed::with_session("sesn_1").await;
    let old = bed.store.sessions().claim("sesn_1", "one").await.unwrap();
    let new = bed.store.sessions().claim("sesn_1", "two").await.unwrap();
    assert!(new > old);
    let late = bed
        .store
        .events()
        .commit("sesn_1", old, vec![append("a")])
        .await;
    assert!(matches!(late, Err(CommitError::Fenced)));
    bed.store
        .events()
        .commit("sesn_1", new, vec![append("b")])
        .await
        .unwrap();
    assert_eq!(bed.log("sesn_1").await, [(1, "b".to_owned())]);
    assert!(matches!(
        bed.store.sessions().claim("sesn_9", "one").await,
        Err(ClaimError::NotFound)
    ));
}

#[tokio::test]
async fn a_starting_server_is_told_what_is_unfinished() {
    let bed = Bed::new().await;
    let names = [
        "idle",
        "running",
        "rescheduling",
        "queued",
        "attention",
        "over",
    ];
    for name in names {
        bed.store
            .sessions()
            .create(session(name), Vec::new())
            .await
            .unwrap();
    }
    let set = async |id: &str, status, attention| {
        let fence = bed.claim(id).await;
        let write = Write::Status {
            status,
            attention,
            updated_at: at(40),
        };
        bed.store
            .events()
            .commit(id, fence, vec![write])
            .await
            .unwrap();
    };
    set("running", Status::Running, false).await;
    set("rescheduling", Status::Rescheduling, false).await;
    set("attention", Status::Idle, true).await;
    for id in ["queued", "over"] {
        bed.store
            .events()
            .enqueue(&MINE, id, vec![queued(id)])
            .await
            .unwrap();
    }
    set("over", Status::Terminated, false).await;
    let unfinished = bed.store.sessions().unfinished().await.unwrap();
    assert!(unfinished.iter().all(|(realm, _)| *realm == *MINE));
    let ids: Vec<&str> = unfinished.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, ["running", "rescheduling", "queued", "attention"]);
}

#[tokio::test]
async fn a_starting_server_is_told_what_is_to_stay() {
    let bed = Bed::new().await;
    let hosted = |id: &str, hosting: &str| SessionRow {
        environment: format!(r#"{{"hosting": {hosting}}}"#),
        ..session(id)
    };
    let staying = r#"{"pattern": "long_running", "pool": {"min": 0, "max": 0}}"#;
    let pooled = r#"{"pattern": "hybrid", "pool": {"min": 1, "max": 2}}"#;
    for new in [
        hosted("fresh", staying),
        hosted("old", staying),
        hosted("new", r#"{"pattern": "shared"}"#),
        hosted("over", staying),
        hosted("pool 1", pooled),
        hosted("pool 2", pooled),
        session("plain"),
    ] {
        bed.store.sessions().create(new, Vec::new()).await.unwrap();
    }
    for (id, status, when) in [
        ("old", Status::Idle, 41),
        ("new", Status::Idle, 42),
        ("over", Status::Terminated, 43),
        ("pool 2", Status::Idle, 44),
    ] {
        let fence = bed.claim(id).await;
        let entry = TranscriptEntry {
            subpath: String::new(),
            uuid: Some(id.to_owned()),
            body: "{}".to_owned(),
        };
        let status = Write::Status {
            status,
            attention: false,
            updated_at: at(when),
        };
        let writes = vec![Write::Transcript(vec![entry]), status];
        bed.store.events().commit(id, fence, writes).await.unwrap();
    }
    let ids = async |most| -> Vec<String> {
        let found = bed.store.sessions().long_running(most).await.unwrap();
        found.into_iter().map(|(_, id)| id).collect()
    };
    assert_eq!(ids(10).await, ["new", "old"]);
    assert_eq!(ids(1).await, ["new"]);
    let pools = bed.store.sessions().latest_with_pool(10).await.unwrap();
    let pools: Vec<&str> = pools.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(pools, ["pool 2"]);
}

#[tokio::test]
async fn everything_survives_closing_and_opening() {
    let Bed { store, dir } = Bed::with_session("sesn_1").await;
    let before = store.sessions().get(&MINE, "sesn_1").await.unwrap();
    let fence = store.sessions().claim("sesn_1", "one").await.unwrap();
    store
        .events()
        .commit("sesn_1", fence, vec![append("a")])
        .await
        .unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.sessions().get(&MINE, "sesn_1").await.unwrap(), before);
    assert_eq!(store.events().last_seq("sesn_1").await.unwrap(), 1);
    assert!(store.sessions().claim("sesn_1", "two").await.unwrap() > fence);
}
