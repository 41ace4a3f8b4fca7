//! Pages and cursors.

use store::*;

use crate::fixture::*;

fn page(limit: u32, cursor: Option<String>) -> PageQuery {
    PageQuery { limit, cursor }
}

#[tokio::test]
async fn agents_come_newest_first_even_with_equal_dates_and_while_new_ones_are_made() {
    let bed = Bed::new().await;
    for number in 2..=7 {
        bed.store
            .agents()
            .create(agent(&format!("agent_{number}"), number / 3))
            .await
            .unwrap();
    }
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let query = AgentQuery {
            page: page(2, cursor),
            ..AgentQuery::default()
        };
        let page = bed.store.agents().list(&MINE, query).await.unwrap();
        ids.extend(page.rows.into_iter().map(|row| row.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
        bed.store
            .agents()
            .create(agent(&format!("late_{}", ids.len()), 1000))
            .await
            .unwrap();
    }
    // agent_1 was made with date 1, the others with their number divided by three.
    let order = [
        "agent_7", "agent_6", "agent_5", "agent_4", "agent_3", "agent_1", "agent_2",
    ];
    assert_eq!(ids, order);
}

#[tokio::test]
async fn agents_are_filtered_by_date_and_archive() {
    let bed = Bed::new().await;
    for number in 2..=4 {
        bed.store
            .agents()
            .create(agent(&format!("agent_{number}"), number))
            .await
            .unwrap();
    }
    bed.store
        .agents()
        .archive(&MINE, "agent_3", at(9))
        .await
        .unwrap();
    let list = async |created, include_archived| {
        let query = AgentQuery {
            created,
            include_archived,
            page: page(20, None),
        };
        let page = bed.store.agents().list(&MINE, query).await.unwrap();
        page.rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let between = TimeRange {
        gte: Some(at(2)),
        lte: Some(at(3)),
        ..TimeRange::default()
    };
    assert_eq!(list(between, true).await, ["agent_3", "agent_2"]);
    assert_eq!(
        list(TimeRange::default(), false).await,
        ["agent_4", "agent_2", "agent_1"]
    );
    let strict = TimeRange {
        gt: Some(at(2)),
        lt: Some(at(4)),
        ..TimeRange::default()
    };
    assert_eq!(list(strict, true).await, ["agent_3"]);
}

#[tokio::test]
async fn versions_and_environments_page_to_the_end() {
    let bed = Bed::new().await;
    for number in 2..=5 {
        bed.store
            .agents()
            .add_version(&MINE, "agent_1", None, "{}".to_owned(), at(number))
            .await
            .unwrap();
        bed.store
            .environments()
            .create(environment(&format!("env_{number}"), number))
            .await
            .unwrap();
    }
    let (mut versions, mut cursor) = (Vec::new(), None);
    loop {
        let page = bed
            .store
            .agents()
            .versions(&MINE, "agent_1", page(2, cursor))
            .await
            .unwrap()
            .unwrap();
        versions.extend(page.rows.iter().map(|row| row.version));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(versions, [5, 4, 3, 2, 1]);
    let query = EnvironmentQuery {
        page: page(3, None),
        ..EnvironmentQuery::default()
    };
    let first = bed.store.environments().list(&MINE, query).await.unwrap();
    assert_eq!(
        first
            .rows
            .iter()
            .map(|row| row.id.as_str())
            .collect::<Vec<_>>(),
        ["env_5", "env_4", "env_3"]
    );
    let query = EnvironmentQuery {
        page: page(3, first.next),
        ..EnvironmentQuery::default()
    };
    let second = bed.store.environments().list(&MINE, query).await.unwrap();
    assert_eq!((second.rows.len(), second.next), (2, None));
}

async fn sessions(bed: &Bed, order: Order, limit: u32, cursor: Option<String>) -> Page<SessionRow> {
    let query = SessionQuery {
        order,
        page: page(limit, cursor),
        ..SessionQuery::default()
    };
    bed.store.sessions().list(&MINE, query).await.unwrap()
}

fn ids(page: &Page<SessionRow>) -> Vec<&str> {
    page.rows.iter().map(|row| row.id.as_str()).collect()
}

async fn bed_with_five_sessions() -> Bed {
    let bed = Bed::new().await;
    for (id, created) in [("s1", 1), ("s2", 2), ("s3", 3), ("s4", 3), ("s5", 5)] {
        let row = SessionRow {
            created_at: at(created),
            ..session(id)
        };
        bed.store.sessions().create(row, Vec::new()).await.unwrap();
    }
    bed
}

#[tokio::test]
async fn sessions_page_forwards_and_backwards_in_both_orders() {
    let bed = bed_with_five_sessions().await;
    for (order, all) in [
        (Order::Desc, ["s5", "s4", "s3", "s2", "s1"]),
        (Order::Asc, ["s1", "s2", "s3", "s4", "s5"]),
    ] {
        let first = sessions(&bed, order, 2, None).await;
        assert_eq!((ids(&first), &first.prev), (all[..2].to_vec(), &None));
        let second = sessions(&bed, order, 2, first.next.clone()).await;
        assert_eq!(ids(&second), all[2..4]);
        let third = sessions(&bed, order, 2, second.next.clone()).await;
        assert_eq!((ids(&third), &third.next), (all[4..].to_vec(), &None));
        let back = sessions(&bed, order, 2, third.prev.clone()).await;
        assert_eq!(ids(&back), all[2..4]);
        let front = sessions(&bed, order, 2, back.prev.clone()).await;
        assert_eq!((ids(&front), &front.prev), (all[..2].to_vec(), &None));
        let again = sessions(&bed, order, 2, front.next.clone()).await;
        assert_eq!(ids(&again), all[2..4]);
    }
}

#[tokio::test]
async fn a_page_emptied_by_deletion_leads_back() {
    let bed = bed_with_five_sessions().await;
    let first = sessions(&bed, Order::Asc, 3, None).await;
    for id in ["s4", "s5"] {
        bed.store.sessions().delete(&MINE, id).await.unwrap();
    }
    let second = sessions(&bed, Order::Asc, 3, first.next).await;
    assert_eq!((ids(&second), &second.next), (vec![], &None));
    let back = sessions(&bed, Order::Asc, 3, second.prev).await;
    assert_eq!(ids(&back), ["s1", "s2", "s3"]);
}

#[tokio::test]
async fn sessions_are_filtered() {
    let bed = bed_with_five_sessions().await;
    bed.store
        .agents()
        .create(agent("agent_2", 1))
        .await
        .unwrap();
    bed.store
        .agents()
        .add_version(&MINE, "agent_2", None, "{}".to_owned(), at(2))
        .await
        .unwrap();
    for (id, agent_version) in [("t1", 1), ("t2", 2)] {
        let row = SessionRow {
            agent_id: "agent_2".to_owned(),
            agent_version,
            status: Status::Running,
            ..session(id)
        };
        bed.store.sessions().create(row, Vec::new()).await.unwrap();
    }
    bed.store
        .sessions()
        .archive(&MINE, "s1", at(50))
        .await
        .unwrap();
    let list = async |query: SessionQuery| {
        let query = SessionQuery {
            order: Order::Asc,
            ..query
        };
        let page = bed.store.sessions().list(&MINE, query).await.unwrap();
        page.rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let all = SessionQuery::default;
    let agent_id = Some("agent_2".to_owned());
    assert_eq!(
        list(SessionQuery {
            agent_id: agent_id.clone(),
            ..all()
        })
        .await,
        ["t1", "t2"]
    );
    assert_eq!(
        list(SessionQuery {
            agent_id,
            agent_version: Some(2),
            ..all()
        })
        .await,
        ["t2"]
    );
    assert_eq!(
        list(SessionQuery {
            statuses: vec![Status::Running],
            ..all()
        })
        .await,
        ["t1", "t2"]
    );
    let statuses = vec![Status::Terminated, Status::Running];
    assert_eq!(
        list(SessionQuery {
            statuses,
            include_archived: true,
            ..all()
        })
        .await,
        ["s1", "t1", "t2"]
    );
    let created = TimeRange {
        gt: Some(at(2)),
        lt: Some(at(5)),
        ..TimeRange::default()
    };
    assert_eq!(list(SessionQuery { created, ..all() }).await, ["s3", "s4"]);
}

#[tokio::test]
async fn a_cursor_is_refused_by_another_list_or_order() {
    let bed = bed_with_five_sessions().await;
    let cursor = sessions(&bed, Order::Desc, 2, None).await.next;
    let other = AgentQuery {
        page: page(2, cursor.clone()),
        ..AgentQuery::default()
    };
    let other = bed.store.agents().list(&MINE, other).await;
    assert!(matches!(
        other,
        Err(ListError::Cursor(CursorError::OtherList))
    ));
    let query = |cursor| SessionQuery {
        order: Order::Asc,
        page: page(2, cursor),
        ..SessionQuery::default()
    };
    let turned = bed.store.sessions().list(&MINE, query(cursor)).await;
    assert!(matches!(
        turned,
        Err(ListError::Cursor(CursorError::OtherOrder))
    ));
    let nonsense = bed
        .store
        .sessions()
        .list(&MINE, query(Some("x".to_owned())))
        .await;
    assert!(matches!(
        nonsense,
        Err(ListError::Cursor(CursorError::Malformed))
    ));
}

#[tokio::test]
async fn events_are_listed_by_number_with_queued_ones_last_or_newest_first() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let events = bed.store.events();
    events
        .enqueue(&MINE, "s", vec![queued("q1"), queued("q2"), queued("q3")])
        .await
        .unwrap();
    events
        .commit("s", fence, vec![append("x"), process("q2"), append("y")])
        .await
        .unwrap();
    let list = async |query: EventQuery| {
        let page = events.list(&MINE, "s", query).await.unwrap().unwrap();
        page.rows
            .iter()
            .map(|row| row.id().to_owned())
            .collect::<Vec<_>>()
    };
    let all = EventQuery::default;
    assert_eq!(list(all()).await, ["x", "q2", "y", "q1", "q3"]);
    assert_eq!(
        list(EventQuery {
            order: Order::Desc,
            ..all()
        })
        .await,
        ["q3", "q1", "y", "q2", "x"]
    );
    let kinds = vec!["user.message".to_owned()];
    assert_eq!(
        list(EventQuery { kinds, ..all() }).await,
        ["q2", "q1", "q3"]
    );
    let processed = TimeRange {
        gte: Some(at(100)),
        ..TimeRange::default()
    };
    assert_eq!(
        list(EventQuery { processed, ..all() }).await,
        ["x", "q2", "y"]
    );
    let processed = TimeRange {
        gt: Some(at(100)),
        ..TimeRange::default()
    };
    assert!(list(EventQuery { processed, ..all() }).await.is_empty());
    assert!(events.list(&MINE, "absent", all()).await.unwrap().is_none());
}
