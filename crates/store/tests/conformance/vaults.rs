//! Vaults, their credentials, and the placeholders of sessions.

use store::*;

use crate::fixture::*;

fn vault(id: &str, created: i64) -> VaultRow {
    VaultRow {
        id: id.to_owned(),
        workspace_id: WS.to_owned(),
        display_name: "v".to_owned(),
        metadata: "{}".to_owned(),
        created_at: at(created),
        updated_at: at(created),
        archived_at: None,
    }
}

fn sealed(key: &str, byte: u8) -> Sealed {
    Sealed {
        key_id: key.to_owned(),
        bytes: vec![byte; 40],
    }
}

fn credential(id: &str, vault: &str, binding: &str, created: i64) -> CredentialRow {
    CredentialRow {
        id: id.to_owned(),
        vault_id: vault.to_owned(),
        workspace_id: WS.to_owned(),
        revision: 1,
        binding: binding.to_owned(),
        display_name: None,
        metadata: "{}".to_owned(),
        auth: r#"{"type":"static_bearer"}"#.to_owned(),
        sealed: Some(sealed("k1", 7)),
        created_at: at(created),
        updated_at: at(created),
        archived_at: None,
    }
}

async fn stage() -> (Bed, Realm) {
    let fixture = Bed::new().await;
    let realm = Realm::of(WS);
    for row in [vault("vlt_1", 1), vault("vlt_2", 2)] {
        fixture.store.vaults().create(row).await.unwrap();
    }
    (fixture, realm)
}

#[tokio::test]
async fn a_vault_is_made_changed_listed_archived_and_deleted_with_its_credentials() {
    let (fixture, realm) = stage().await;
    let (vaults, credentials) = (fixture.store.vaults(), fixture.store.credentials());
    let page = vaults.list(&realm, VaultQuery::default()).await.unwrap();
    let ids: Vec<&str> = page.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["vlt_2", "vlt_1"]);

    let named = Some("w".to_owned());
    let changed = vaults.update(&realm, "vlt_1", named, None, at(5)).await;
    let changed = changed.unwrap().unwrap();
    assert_eq!(
        (changed.display_name.as_str(), changed.metadata.as_str()),
        ("w", "{}")
    );
    assert_eq!(changed.updated_at, at(5));

    let row = credential("vcrd_1", "vlt_1", "A", 3);
    credentials.create(&realm, row.clone(), 20).await.unwrap();
    assert_eq!(
        credentials.get(&realm, "vlt_1", "vcrd_1").await.unwrap(),
        Some(row)
    );
    assert_eq!(
        credentials.get(&realm, "vlt_2", "vcrd_1").await.unwrap(),
        None
    );

    let archived = vaults
        .archive(&realm, "vlt_1", at(6))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(archived.archived_at, Some(at(6)));
    let again = vaults
        .archive(&realm, "vlt_1", at(7))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again, archived);
    let gone = credentials
        .get(&realm, "vlt_1", "vcrd_1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((gone.sealed, gone.archived_at), (None, Some(at(6))));
    assert_eq!(credentials.active("vcrd_1").await.unwrap(), None);
    let more = credentials.create(&realm, credential("vcrd_2", "vlt_1", "B", 8), 20);
    assert!(matches!(more.await, Err(CreateCredentialError::Archived)));

    assert!(vaults.delete(&realm, "vlt_1").await.unwrap());
    assert!(!vaults.delete(&realm, "vlt_1").await.unwrap());
    assert_eq!(
        credentials.get(&realm, "vlt_1", "vcrd_1").await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_vault_holds_so_many_credentials_and_one_for_each_thing() {
    let (fixture, realm) = stage().await;
    let credentials = fixture.store.credentials();
    let make = |row| credentials.create(&realm, row, 2);
    make(credential("vcrd_1", "vlt_1", "A", 1)).await.unwrap();
    let same = make(credential("vcrd_2", "vlt_1", "A", 2)).await;
    assert!(matches!(same, Err(CreateCredentialError::Duplicate)));
    make(credential("vcrd_3", "vlt_2", "A", 3)).await.unwrap();
    make(credential("vcrd_4", "vlt_1", "B", 4)).await.unwrap();
    let full = make(credential("vcrd_5", "vlt_1", "C", 5)).await;
    assert!(matches!(
        full,
        Err(CreateCredentialError::TooMany { limit: 2 })
    ));
    let absent = make(credential("vcrd_6", "vlt_9", "C", 6)).await;
    assert!(matches!(absent, Err(CreateCredentialError::NotFound)));

    let archived = credentials.archive(&realm, "vlt_1", "vcrd_1", at(7)).await;
    assert_eq!(archived.unwrap().unwrap().sealed, None);
    make(credential("vcrd_7", "vlt_1", "A", 8)).await.unwrap();
    let page = credentials.list(&realm, "vlt_1", CredentialQuery::default());
    let page = page.await.unwrap().unwrap();
    let ids: Vec<&str> = page.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["vcrd_7", "vcrd_4"]);
    let all = CredentialQuery {
        include_archived: true,
        page: PageQuery {
            limit: 2,
            cursor: None,
        },
    };
    let page = credentials
        .list(&realm, "vlt_1", all)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.rows.len(), 2);
    assert!(page.next.is_some());

    let order = credentials
        .of_vaults(WS, r#"["vlt_2","vlt_1","vlt_9"]"#)
        .await
        .unwrap();
    let ids: Vec<&str> = order.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["vcrd_3", "vcrd_4", "vcrd_7"]);
    let theirs = credentials
        .of_vaults("wrkspc_2", r#"["vlt_1"]"#)
        .await
        .unwrap();
    assert!(theirs.is_empty());
}

#[tokio::test]
async fn other_workspaces_and_keys_of_one_environment_find_no_vault() {
    let (fixture, realm) = stage().await;
    let (vaults, credentials) = (fixture.store.vaults(), fixture.store.credentials());
    let row = credential("vcrd_1", "vlt_1", "A", 1);
    credentials.create(&realm, row, 20).await.unwrap();
    for realm in [
        Realm::of("wrkspc_2"),
        realm.within(Some("env_1".to_owned())),
    ] {
        assert_eq!(vaults.get(&realm, "vlt_1").await.unwrap(), None);
        assert!(
            vaults
                .list(&realm, VaultQuery::default())
                .await
                .unwrap()
                .rows
                .is_empty()
        );
        assert_eq!(vaults.archive(&realm, "vlt_1", at(2)).await.unwrap(), None);
        assert!(!vaults.delete(&realm, "vlt_1").await.unwrap());
        assert_eq!(
            credentials.get(&realm, "vlt_1", "vcrd_1").await.unwrap(),
            None
        );
        let listed = credentials.list(&realm, "vlt_1", CredentialQuery::default());
        assert!(listed.await.unwrap().is_none());
        assert!(!credentials.delete(&realm, "vlt_1", "vcrd_1").await.unwrap());
        let made = credentials.create(&realm, credential("vcrd_2", "vlt_1", "B", 1), 20);
        assert!(matches!(made.await, Err(CreateCredentialError::NotFound)));
    }
}

#[tokio::test]
async fn of_two_changes_of_one_revision_one_is_kept() {
    let (fixture, realm) = stage().await;
    let credentials = fixture.store.credentials();
    let row = credential("vcrd_1", "vlt_1", "A", 1);
    credentials.create(&realm, row.clone(), 20).await.unwrap();
    let changed = CredentialRow {
        display_name: Some("n".to_owned()),
        sealed: Some(sealed("k1", 9)),
        ..row.clone()
    };
    let kept = credentials.update(changed.clone(), at(5)).await.unwrap();
    assert_eq!((kept.revision, kept.updated_at), (2, at(5)));
    assert_eq!(kept.sealed, Some(sealed("k1", 9)));
    let late = credentials.update(row.clone(), at(6)).await;
    assert!(matches!(
        late,
        Err(UpdateCredentialError::RevisionMismatch { current: 2 })
    ));
    credentials
        .archive(&realm, "vlt_1", "vcrd_1", at(7))
        .await
        .unwrap();
    let over = credentials.update(row, at(8)).await;
    assert!(matches!(over, Err(UpdateCredentialError::Archived)));
}

#[tokio::test]
async fn what_is_sealed_under_another_key_is_found_and_sealed_anew_once() {
    let (fixture, realm) = stage().await;
    let credentials = fixture.store.credentials();
    for (id, binding) in [("vcrd_1", "A"), ("vcrd_2", "B"), ("vcrd_3", "C")] {
        let row = credential(id, "vlt_1", binding, 1);
        credentials.create(&realm, row, 20).await.unwrap();
    }
    let old = credentials.sealed_otherwise("k2", "", 2).await.unwrap();
    assert_eq!(old.len(), 2);
    assert!(
        credentials
            .reseal("vcrd_1", 1, sealed("k2", 1))
            .await
            .unwrap()
    );
    assert!(
        !credentials
            .reseal("vcrd_2", 2, sealed("k2", 1))
            .await
            .unwrap()
    );
    let left = credentials.sealed_otherwise("k2", "", 9).await.unwrap();
    let ids: Vec<&str> = left.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["vcrd_2", "vcrd_3"]);
    let first = credentials.active("vcrd_1").await.unwrap().unwrap();
    assert_eq!(
        (first.sealed, first.revision, first.updated_at),
        (Some(sealed("k2", 1)), 1, at(1))
    );
}

#[tokio::test]
async fn a_session_keeps_its_placeholders_as_long_as_it_is_there() {
    let (fixture, realm) = stage().await;
    let (credentials, sessions) = (fixture.store.credentials(), fixture.store.sessions());
    let mut row = session("sesn_1");
    row.vault_ids = r#"["vlt_2","vlt_1"]"#.to_owned();
    sessions.create(row.clone(), Vec::new()).await.unwrap();
    assert_eq!(
        sessions
            .get(&realm, "sesn_1")
            .await
            .unwrap()
            .unwrap()
            .vault_ids,
        row.vault_ids
    );
    let fresh = |text: &str| vec![("vcrd_1".to_owned(), text.to_owned())];
    let first = credentials
        .placeholders("sesn_1", fresh("a"))
        .await
        .unwrap();
    assert_eq!(first, fresh("a"));
    assert_eq!(
        credentials
            .placeholders("sesn_1", fresh("b"))
            .await
            .unwrap(),
        first
    );
    assert!(sessions.delete(&realm, "sesn_1").await.unwrap());
    let absent = credentials
        .placeholders("sesn_1", Vec::new())
        .await
        .unwrap();
    assert!(absent.is_empty());
}
