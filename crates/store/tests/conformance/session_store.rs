//! Transcripts that programs elsewhere keep here.

use store::{Append, AppendError, CreateSessionError, KeptEntry, KeptKey, PageQuery, Realm, Store};

use crate::fixture::{Bed, MINE, THEIRS, WS, at, session};

const ROOM: u64 = 1 << 20;

fn key(session: &str) -> KeptKey {
    KeptKey {
        project: "project".to_owned(),
        session: session.to_owned(),
    }
}

fn entry(uuid: &str, text: &str) -> KeptEntry {
    KeptEntry {
        uuid: (!uuid.is_empty()).then(|| uuid.to_owned()),
        body: format!("{{\"text\":\"{text}\"}}"),
    }
}

fn append(session: &str, subpath: &str, entries: &[(&str, &str)]) -> Append {
    Append {
        key: key(session),
        subpath: subpath.to_owned(),
        entries: entries
            .iter()
            .map(|(uuid, text)| entry(uuid, text))
            .collect(),
        summary: None,
        at: at(1),
        most: ROOM,
    }
}

async fn texts(store: &Store, realm: &Realm, session: &str, subpath: &str) -> Option<Vec<String>> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let kept = store.session_store();
        // A page of one byte has one entry.
        let page = kept.load(realm, key(session), subpath.to_owned(), after, 1);
        let page = page.await.unwrap()?;
        all.extend(page.bodies.iter().map(|body| {
            let value: serde_json::Value = serde_json::from_str(body).unwrap();
            value["text"].as_str().unwrap().to_owned()
        }));
        match page.next {
            Some(next) => after = next,
            None => return Some(all),
        }
    }
}

#[tokio::test]
async fn entries_come_back_in_order_and_those_with_a_uuid_once() {
    let Bed { store, dir: _dir } = Bed::new().await;
    let kept = store.session_store();
    for entries in [
        &[("b", "1"), ("a", "2"), ("", "3")][..],
        &[("a", "other"), ("", "3"), ("c", "4")],
    ] {
        kept.append(&MINE, append("s", "", entries)).await.unwrap();
    }
    let main = texts(&store, &MINE, "s", "").await.unwrap();
    assert_eq!(main, ["1", "2", "3", "3", "4"]);
    assert_eq!(texts(&store, &MINE, "s", "sub/a").await, None);
    assert_eq!(texts(&store, &MINE, "t", "").await, None);
    // The same uuid in another file is another entry.
    let more = append("s", "sub/a", &[("a", "5")]);
    kept.append(&MINE, more).await.unwrap();
    assert_eq!(texts(&store, &MINE, "s", "sub/a").await.unwrap(), ["5"]);
    assert_eq!(kept.subpaths(&MINE, key("s")).await.unwrap(), ["sub/a"]);
}

#[tokio::test]
async fn neither_another_workspace_nor_one_environment_sees_them() {
    let Bed { store, dir: _dir } = Bed::new().await;
    let kept = store.session_store();
    let one = Realm::of(WS).within(Some("env_1".to_owned()));
    kept.append(&MINE, append("s", "", &[("a", "mine")]))
        .await
        .unwrap();
    for realm in [&*THEIRS, &one] {
        assert_eq!(texts(&store, realm, "s", "").await, None);
        kept.delete(realm, key("s"), String::new()).await.unwrap();
        let list = kept.list(realm, "project".to_owned(), None, PageQuery::default());
        assert!(list.await.unwrap().rows.is_empty());
    }
    kept.append(&one, append("s", "", &[("a", "one")]))
        .await
        .unwrap();
    assert_eq!(texts(&store, &MINE, "s", "").await.unwrap(), ["mine"]);
    assert_eq!(texts(&store, &one, "s", "").await.unwrap(), ["one"]);
}

#[tokio::test]
async fn a_summary_is_replaced_by_who_has_seen_the_last_one() {
    let Bed { store, dir: _dir } = Bed::new().await;
    let kept = store.session_store();
    let with = |revision, text: &'static str| {
        let mut append = append("s", "", &[("", text)]);
        append.summary = Some((revision, format!("{{\"title\":\"{text}\"}}")));
        append
    };
    assert_eq!(kept.append(&MINE, with(0, "a")).await.unwrap().revision, 1);
    assert_eq!(kept.append(&MINE, with(1, "b")).await.unwrap().revision, 2);
    let refused = kept.append(&MINE, with(1, "c")).await.unwrap_err();
    assert!(
        matches!(refused, AppendError::Outdated { now: 2 }),
        "{refused}"
    );
    assert_eq!(texts(&store, &MINE, "s", "").await.unwrap(), ["a", "b"]);
    // Only sessions with a main file are listed, and a file beside it changes nothing of it.
    kept.append(&MINE, append("only-sub", "x", &[("", "d")]))
        .await
        .unwrap();
    let list = kept.list(&MINE, "project".to_owned(), None, PageQuery::default());
    let rows = list.await.unwrap().rows;
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(row.summary.as_deref(), Some("{\"title\":\"b\"}"));
    assert_eq!((row.session.as_str(), row.changed_at), ("s", at(1)));
}

#[tokio::test]
async fn a_deleted_file_makes_room_and_a_deleted_session_takes_all_its_files() {
    let Bed { store, dir: _dir } = Bed::new().await;
    let kept = store.session_store();
    let room = 2 * entry("", "1").body.len() as u64;
    let bounded = |subpath, text| {
        let mut append = append("s", subpath, &[("", text)]);
        append.most = room;
        append
    };
    kept.append(&MINE, bounded("", "1")).await.unwrap();
    kept.append(&MINE, bounded("x", "2")).await.unwrap();
    let refused = kept.append(&MINE, bounded("", "3")).await.unwrap_err();
    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    assert_eq!(texts(&store, &MINE, "s", "").await.unwrap(), ["1"]);
    kept.delete(&MINE, key("s"), "x".to_owned()).await.unwrap();
    assert_eq!(texts(&store, &MINE, "s", "x").await, None);
    kept.append(&MINE, bounded("y", "3")).await.unwrap();
    kept.delete(&MINE, key("s"), String::new()).await.unwrap();
    kept.delete(&MINE, key("s"), String::new()).await.unwrap();
    assert_eq!(texts(&store, &MINE, "s", "").await, None);
    assert_eq!(texts(&store, &MINE, "s", "y").await, None);
    kept.append(&MINE, bounded("", "4")).await.unwrap();
    assert_eq!(texts(&store, &MINE, "s", "").await.unwrap(), ["4"]);
}

#[tokio::test]
async fn a_session_begins_with_a_kept_transcript_and_shares_nothing_with_it() {
    let Bed { store, dir: _dir } = Bed::new().await;
    let kept = store.session_store();
    for (subpath, text) in [("", "1"), ("x", "2"), ("", "3")] {
        kept.append(&MINE, append("s", subpath, &[("", text)]))
            .await
            .unwrap();
    }
    let begin = |id: &str, realm: &Realm, kept: &str| {
        let (realm, key) = (realm.clone(), key(kept));
        let row = session(id);
        let store = &store;
        async move {
            store
                .sessions()
                .create_from(row, Vec::new(), &realm, key)
                .await
        }
    };
    begin("sesn_1", &MINE, "s").await.unwrap();
    kept.delete(&MINE, key("s"), String::new()).await.unwrap();
    let files = store.transcripts().load("sesn_1").await.unwrap();
    let body = |text: &str| entry("", text).body;
    let expected = [
        (String::new(), vec![body("1"), body("3")]),
        ("x".to_owned(), vec![body("2")]),
    ];
    assert_eq!(files, expected);
    // Nothing is made when there is nothing to begin with.
    for (realm, kept) in [(&*MINE, "s"), (&*THEIRS, "s"), (&*MINE, "absent")] {
        let refused = begin("sesn_2", realm, kept).await.unwrap_err();
        assert!(
            matches!(refused, CreateSessionError::KeptNotFound),
            "{refused}"
        );
    }
    assert!(
        store
            .sessions()
            .get(&MINE, "sesn_2")
            .await
            .unwrap()
            .is_none()
    );
}
