//! Files of sessions.

use store::*;

use crate::fixture::*;

fn file(id: &str, session: &str, created: i64) -> FileRow {
    FileRow {
        id: id.to_owned(),
        workspace_id: WS.to_owned(),
        session_id: Some(session.to_owned()),
        filename: format!("{id}.txt"),
        mime_type: "text/plain".to_owned(),
        size_bytes: 5,
        sha256: [9; 32],
        created_at: at(created),
        downloadable: true,
    }
}

async fn bed() -> Bed {
    let bed = Bed::with_session("s").await;
    let other = session("t");
    bed.store
        .sessions()
        .create(other, Vec::new())
        .await
        .unwrap();
    for row in [file("a", "s", 1), file("b", "t", 2), file("c", "s", 3)] {
        bed.store.files().insert(row).await.unwrap();
    }
    bed
}

async fn listed(bed: &Bed, realm: &Realm, query: FileQuery) -> Vec<String> {
    let page = bed.store.files().list(realm, query).await.unwrap();
    page.rows.into_iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_and_to_its_workspace_alone() {
    let bed = bed().await;
    let files = bed.store.files();
    assert_eq!(
        files.get(&MINE, "a").await.unwrap(),
        Some(file("a", "s", 1))
    );
    assert_eq!(files.get(&THEIRS, "a").await.unwrap(), None);
    assert!(!files.delete(&THEIRS, "a").await.unwrap());
    assert!(listed(&bed, &THEIRS, FileQuery::default()).await.is_empty());
    let mut twice = file("a", "s", 1);
    twice.filename = "other.txt".to_owned();
    let twice = files.insert(twice).await;
    assert!(matches!(twice, Err(InsertFileError::Duplicate)));
    let gone = files.insert(file("d", "nobody", 1)).await;
    assert!(matches!(gone, Err(InsertFileError::NotFound)));
}

#[tokio::test]
async fn files_are_listed_newest_first_by_session_and_by_id() {
    let bed = bed().await;
    let of = |session: &str| FileQuery {
        session_id: Some(session.to_owned()),
        ..FileQuery::default()
    };
    assert_eq!(
        listed(&bed, &MINE, FileQuery::default()).await,
        ["c", "b", "a"]
    );
    assert_eq!(listed(&bed, &MINE, of("s")).await, ["c", "a"]);
    let ids = FileQuery {
        ids: Some(vec!["b".to_owned(), "x".to_owned()]),
        ..FileQuery::default()
    };
    assert_eq!(listed(&bed, &MINE, ids).await, ["b"]);
    let mut ids = bed.store.files().of_session("s").await.unwrap();
    ids.sort();
    assert_eq!(ids, ["a", "c"]);
    let mut query = of("s");
    query.page.limit = 1;
    let first = bed.store.files().list(&MINE, query.clone()).await.unwrap();
    query.page.cursor = first.next;
    let second = bed.store.files().list(&MINE, query).await.unwrap();
    assert_eq!((second.rows[0].id.as_str(), second.next), ("a", None));
}

#[tokio::test]
async fn a_deleted_file_or_session_leaves_no_file() {
    let bed = bed().await;
    let files = bed.store.files();
    assert!(files.delete(&MINE, "a").await.unwrap());
    assert!(!files.delete(&MINE, "a").await.unwrap());
    bed.store.sessions().delete(&MINE, "s").await.unwrap();
    assert_eq!(listed(&bed, &MINE, FileQuery::default()).await, ["b"]);
    let asked = ["a", "b", "c"].map(str::to_owned).to_vec();
    let mut absent = files.absent(asked).await.unwrap();
    absent.sort();
    assert_eq!(absent, ["a", "c"]);
}

#[tokio::test]
async fn what_a_session_made_before_is_not_added_again() {
    let bed = bed().await;
    let add = |id: &str, session: &str, sha256: u8| {
        let mut row = file(id, session, 4);
        row.filename = "a.txt".to_owned();
        row.sha256 = [sha256; 32];
        bed.store.files().insert(row)
    };
    assert!(!add("d", "s", 9).await.unwrap());
    assert!(add("e", "t", 9).await.unwrap());
    assert!(add("f", "s", 1).await.unwrap());
    // As it was before the last one is another change.
    assert!(add("g", "s", 9).await.unwrap());
    assert!(!add("h", "s", 9).await.unwrap());
}
