//! Workspaces, their keys, and what one environment of a workspace sees.

use store::*;

use crate::fixture::*;

fn key(id: &str, workspace: &str, byte: u8) -> KeyRow {
    KeyRow {
        id: id.to_owned(),
        workspace_id: workspace.to_owned(),
        environment_id: None,
        name: "ci".to_owned(),
        scope: "sessions".to_owned(),
        sha256: [byte; 32],
        hint: "hostel_abcd".to_owned(),
        created_at: at(i64::from(byte)),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    }
}

fn workspace(id: &str, max_sessions: Option<u32>) -> WorkspaceRow {
    WorkspaceRow {
        id: id.to_owned(),
        name: "theirs".to_owned(),
        max_sessions,
        limits: "{}".to_owned(),
        created_at: at(1),
    }
}

fn rotation(id: &str, byte: u8, now: i64, old_until: i64) -> Rotation {
    Rotation {
        id: id.to_owned(),
        sha256: [byte; 32],
        hint: "hostel_ef01".to_owned(),
        at: at(now),
        old_until: at(old_until),
    }
}

async fn ids(store: &Store, reach: &Reach, query: KeyQuery) -> Vec<String> {
    let page = store.keys().list(reach, query).await.unwrap();
    page.rows.into_iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn a_key_is_found_by_the_beginning_of_its_hash_only() {
    let bed = Bed::new().await;
    let keys = bed.store.keys();
    let row = key("apikey_1", WS, 7);
    keys.insert(row.clone()).await.unwrap();
    let found = keys.candidates(&[7; 32]).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&row));
    let mut like = [7; 32];
    like[31] = 8;
    // The rest is for the caller to compare.
    assert_eq!(keys.candidates(&like).await.unwrap(), [row]);
    like[7] = 8;
    assert!(keys.candidates(&like).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_environment_of_a_key_is_one_of_its_workspace_and_takes_the_key_along() {
    let bed = Bed::new().await;
    let (store, keys) = (&bed.store, bed.store.keys());
    store
        .workspaces()
        .create(workspace(OTHER_WS, None))
        .await
        .unwrap();
    let of = |id: &str, workspace: &str, environment: &str, byte| KeyRow {
        environment_id: Some(environment.to_owned()),
        ..key(id, workspace, byte)
    };
    for wrong in [
        of("a", OTHER_WS, "env_1", 1),
        of("b", WS, "env_9", 2),
        key("c", "wrkspc_9", 3),
    ] {
        let refused = keys.insert(wrong).await;
        assert!(
            matches!(refused, Err(InsertKeyError::NotFound)),
            "{refused:?}"
        );
    }
    keys.insert(of("d", WS, "env_1", 4)).await.unwrap();
    store.environments().delete(&MINE, "env_1").await.unwrap();
    assert!(keys.candidates(&[4; 32]).await.unwrap().is_empty());
}

#[tokio::test]
async fn keys_are_listed_rotated_and_revoked_within_reach() {
    let bed = Bed::new().await;
    let (store, keys) = (&bed.store, bed.store.keys());
    store
        .workspaces()
        .create(workspace(OTHER_WS, None))
        .await
        .unwrap();
    for row in [key("mine", WS, 1), key("theirs", OTHER_WS, 2)] {
        keys.insert(row).await.unwrap();
    }
    let theirs = Reach::Workspace(OTHER_WS.to_owned());
    let all = |include_revoked| KeyQuery {
        include_revoked,
        ..KeyQuery::default()
    };
    assert_eq!(
        ids(store, &Reach::Server, all(false)).await,
        ["theirs", "mine"]
    );
    assert_eq!(ids(store, &theirs, all(false)).await, ["theirs"]);
    let foreign = KeyQuery {
        workspace_id: Some(WS.to_owned()),
        ..all(true)
    };
    assert!(ids(store, &theirs, foreign).await.is_empty());
    assert_eq!(keys.get(&theirs, "mine").await.unwrap(), None);
    assert_eq!(keys.revoke(&theirs, "mine", at(5)).await.unwrap(), None);
    let refused = keys.rotate(&theirs, "mine", rotation("x", 9, 5, 5)).await;
    assert!(matches!(refused, Err(RotateKeyError::NotFound)));

    let new = keys
        .rotate(&theirs, "theirs", rotation("next", 3, 10, 20))
        .await
        .unwrap();
    assert_eq!(
        (new.name.as_str(), new.workspace_id.as_str()),
        ("ci", OTHER_WS)
    );
    assert_eq!((new.sha256, new.expires_at), ([3; 32], None));
    let old = keys.get(&theirs, "theirs").await.unwrap().unwrap();
    assert_eq!(old.expires_at, Some(at(20)));
    // Rotated again, it does not live longer than it would have.
    keys.rotate(&theirs, "theirs", rotation("third", 4, 11, 90))
        .await
        .unwrap();
    let old = keys.get(&theirs, "theirs").await.unwrap().unwrap();
    assert_eq!(old.expires_at, Some(at(20)));
    let late = keys
        .rotate(&theirs, "theirs", rotation("x", 9, 20, 90))
        .await;
    assert!(matches!(late, Err(RotateKeyError::Over)));

    let revoked = keys.revoke(&theirs, "next", at(30)).await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(at(30)));
    let again = keys.revoke(&theirs, "next", at(40)).await.unwrap().unwrap();
    assert_eq!(again.revoked_at, Some(at(30)));
    assert_eq!(ids(store, &theirs, all(false)).await, ["third", "theirs"]);
    assert_eq!(
        ids(store, &theirs, all(true)).await,
        ["third", "next", "theirs"]
    );
}

#[tokio::test]
async fn whether_there_is_a_good_key_of_a_scope() {
    let bed = Bed::new().await;
    let keys = bed.store.keys();
    let any = async |now| keys.any(WS, "sessions", at(now)).await.unwrap();
    assert!(!any(0).await);
    let mut expiring = key("a", WS, 1);
    expiring.expires_at = Some(at(100));
    keys.insert(expiring).await.unwrap();
    assert_eq!((any(99).await, any(100).await), (true, false));
    keys.insert(key("b", WS, 2)).await.unwrap();
    assert!(any(100).await);
    assert!(!keys.any(WS, "admin", at(100)).await.unwrap());
    keys.revoke(&Reach::Server, "b", at(100)).await.unwrap();
    assert!(!any(100).await);
}

#[tokio::test]
async fn the_last_use_of_a_key_only_goes_forward() {
    let bed = Bed::new().await;
    let keys = bed.store.keys();
    keys.insert(key("a", WS, 1)).await.unwrap();
    for now in [50, 40] {
        keys.used("a", at(now)).await.unwrap();
        let row = keys.get(&Reach::Server, "a").await.unwrap().unwrap();
        assert_eq!(row.last_used_at, Some(at(50)));
    }
}

#[tokio::test]
async fn a_workspace_is_seen_within_reach_and_changed_whole() {
    let bed = Bed::new().await;
    let workspaces = bed.store.workspaces();
    workspaces
        .create(workspace(OTHER_WS, Some(3)))
        .await
        .unwrap();
    let twice = workspaces.create(workspace(OTHER_WS, None)).await;
    assert!(matches!(twice, Err(InsertError::Duplicate)));
    let theirs = Reach::Workspace(OTHER_WS.to_owned());
    assert!(workspaces.get(&theirs, WS).await.unwrap().is_none());
    let names = async |reach: &Reach| {
        let page = workspaces.list(reach, PageQuery::default()).await.unwrap();
        page.rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(names(&Reach::Server).await, [OTHER_WS, WS]);
    assert_eq!(names(&theirs).await, [OTHER_WS]);
    let changed = WorkspaceRow {
        name: "new".to_owned(),
        limits: "{\"max_sessions\":null}".to_owned(),
        ..workspace(OTHER_WS, None)
    };
    assert!(workspaces.limited().await.unwrap().is_empty());
    let updated = workspaces.update(changed.clone()).await.unwrap();
    let limited = workspaces.limited().await.unwrap();
    assert_eq!(limited, std::slice::from_ref(&changed));
    assert_eq!(updated, Some(changed));
    let absent = workspaces.update(workspace("wrkspc_9", None)).await;
    assert_eq!(absent.unwrap(), None);
}

#[tokio::test]
async fn sessions_that_are_not_over_are_counted_against_the_workspace() {
    let bed = Bed::with_session("a").await;
    let (store, sessions) = (&bed.store, bed.store.sessions());
    let quota = |max| WorkspaceRow {
        created_at: at(0),
        ..workspace(WS, max)
    };
    store.workspaces().update(quota(Some(2))).await.unwrap();
    sessions.create(session("b"), Vec::new()).await.unwrap();
    let refused = sessions.create(session("c"), Vec::new()).await;
    assert!(matches!(
        refused,
        Err(CreateSessionError::Quota { limit: 2 })
    ));
    sessions.archive(&MINE, "a", at(20)).await.unwrap();
    sessions.create(session("c"), Vec::new()).await.unwrap();
    let fork = Fork {
        from: "b".to_owned(),
        until: 0,
        row: session("d"),
        renamed: Vec::new(),
        closing: Vec::new(),
        snapshots: Vec::new(),
    };
    let refused = sessions.fork(fork, String::new).await;
    assert!(matches!(
        refused,
        Err(ForkError::Create(CreateSessionError::Quota { limit: 2 }))
    ));
}

/// A file of a session.
fn file(id: &str, session: &str) -> FileRow {
    FileRow {
        id: id.to_owned(),
        workspace_id: WS.to_owned(),
        session_id: Some(session.to_owned()),
        filename: "a".to_owned(),
        mime_type: "text/plain".to_owned(),
        size_bytes: 1,
        sha256: [0; 32],
        created_at: at(1),
        downloadable: true,
    }
}

#[tokio::test]
async fn one_environment_sees_nothing_of_the_others_but_the_agents() {
    let bed = Bed::with_session("a").await;
    let store = &bed.store;
    store
        .environments()
        .create(environment("env_2", 2))
        .await
        .unwrap();
    let second = SessionRow {
        environment_id: "env_2".to_owned(),
        ..session("b")
    };
    store.sessions().create(second, Vec::new()).await.unwrap();
    for row in [file("file_a", "a"), file("file_b", "b")] {
        store.files().insert(row).await.unwrap();
    }
    let realm = Realm::of(WS).within(Some("env_2".to_owned()));
    assert!(
        store
            .agents()
            .get(&realm, "agent_1", None)
            .await
            .unwrap()
            .is_some()
    );
    let environments = store.environments();
    assert!(environments.get(&realm, "env_1").await.unwrap().is_none());
    assert!(environments.get(&realm, "env_2").await.unwrap().is_some());
    assert!(
        environments
            .archive(&realm, "env_1", at(9))
            .await
            .unwrap()
            .is_none()
    );
    let seen = environments
        .list(&realm, EnvironmentQuery::default())
        .await
        .unwrap()
        .rows;
    assert_eq!(
        seen.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
        ["env_2"]
    );
    let sessions = store.sessions();
    assert!(sessions.get(&realm, "a").await.unwrap().is_none());
    assert!(sessions.get(&realm, "b").await.unwrap().is_some());
    assert!(!sessions.delete(&realm, "a").await.unwrap());
    let seen = sessions
        .list(&realm, SessionQuery::default())
        .await
        .unwrap()
        .rows;
    assert_eq!(
        seen.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
        ["b"]
    );
    let sent = store.events().enqueue(&realm, "a", vec![queued("e")]).await;
    assert!(matches!(sent, Err(EnqueueError::NotFound)));
    assert!(
        store
            .events()
            .list(&realm, "a", EventQuery::default())
            .await
            .unwrap()
            .is_none()
    );
    let files = store.files();
    assert!(files.get(&realm, "file_a").await.unwrap().is_none());
    assert!(files.get(&realm, "file_b").await.unwrap().is_some());
    assert!(!files.delete(&realm, "file_a").await.unwrap());
    let seen = files.list(&realm, FileQuery::default()).await.unwrap().rows;
    assert_eq!(
        seen.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
        ["file_b"]
    );
    assert!(files.delete(&realm, "file_b").await.unwrap());
}
