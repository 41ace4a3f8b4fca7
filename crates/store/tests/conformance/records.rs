//! Keys, agents, environments, usage.

use store::*;

use crate::fixture::*;

#[tokio::test]
async fn agent_versions_are_immutable_and_counted() {
    let bed = Bed::new().await;
    let agents = bed.store.agents();
    let second = agents
        .add_version(&MINE, "agent_1", Some(1), "{\"v\":2}".to_owned(), at(9))
        .await
        .unwrap();
    assert_eq!(
        (second.version, second.created_at, second.updated_at),
        (2, at(1), at(9))
    );
    let first = agents
        .get(&MINE, "agent_1", Some(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (first.version, first.body.as_str()),
        (1, r#"{"name":"agent_1"}"#)
    );
    assert_eq!(
        agents.get(&MINE, "agent_1", None).await.unwrap(),
        Some(second)
    );
    assert_eq!(agents.get(&MINE, "agent_1", Some(3)).await.unwrap(), None);
    let versions = agents
        .versions(&MINE, "agent_1", PageQuery::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        versions
            .rows
            .iter()
            .map(|row| row.version)
            .collect::<Vec<_>>(),
        [2, 1]
    );
}

#[tokio::test]
async fn a_version_on_a_stale_base_is_refused() {
    let bed = Bed::new().await;
    let agents = bed.store.agents();
    let add = |expected| agents.add_version(&MINE, "agent_1", expected, "{}".to_owned(), at(9));
    assert_eq!(add(None).await.unwrap().version, 2);
    assert!(matches!(
        add(Some(1)).await,
        Err(AddVersionError::VersionMismatch { current: 2 })
    ));
    let absent = agents
        .add_version(&MINE, "agent_9", None, "{}".to_owned(), at(9))
        .await;
    assert!(matches!(absent, Err(AddVersionError::NotFound)));
}

#[tokio::test]
async fn of_concurrent_versions_on_one_base_exactly_one_wins() {
    let bed = Bed::new().await;
    let agents = bed.store.agents();
    let add = || agents.add_version(&MINE, "agent_1", Some(1), "{}".to_owned(), at(9));
    let (a, b, c) = tokio::join!(add(), add(), add());
    assert_eq!(
        [a.is_ok(), b.is_ok(), c.is_ok()]
            .iter()
            .filter(|ok| **ok)
            .count(),
        1
    );
}

#[tokio::test]
async fn archiving_is_idempotent_and_ends_changes() {
    let bed = Bed::new().await;
    let agents = bed.store.agents();
    agents
        .archive(&MINE, "agent_1", at(20))
        .await
        .unwrap()
        .unwrap();
    let again = agents
        .archive(&MINE, "agent_1", at(30))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.archived_at, Some(at(20)));
    let update = agents
        .add_version(&MINE, "agent_1", None, "{}".to_owned(), at(40))
        .await;
    assert!(matches!(update, Err(AddVersionError::Archived)));
    assert!(
        agents
            .archive(&MINE, "agent_9", at(20))
            .await
            .unwrap()
            .is_none()
    );

    let environments = bed.store.environments();
    environments
        .archive(&MINE, "env_1", at(20))
        .await
        .unwrap()
        .unwrap();
    let again = environments
        .archive(&MINE, "env_1", at(30))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.archived_at, Some(at(20)));
    let update = environments
        .update(
            &MINE,
            "env_1",
            None,
            "{}".to_owned(),
            Keep::default(),
            at(40),
        )
        .await;
    assert!(matches!(update, Err(UpdateEnvironmentError::Archived)));
}

#[tokio::test]
async fn a_taken_id_is_refused() {
    let bed = Bed::new().await;
    let agent = bed.store.agents().create(agent("agent_1", 2)).await;
    assert!(matches!(agent, Err(InsertError::Duplicate)));
    let environment = bed
        .store
        .environments()
        .create(environment("env_1", 2))
        .await;
    assert!(matches!(environment, Err(InsertError::Duplicate)));
}

#[tokio::test]
async fn an_environment_update_on_a_stale_revision_is_refused() {
    let bed = Bed::new().await;
    let environments = bed.store.environments();
    let row = environments
        .update(
            &MINE,
            "env_1",
            Some(1),
            "{\"a\":1}".to_owned(),
            Keep::default(),
            at(7),
        )
        .await
        .unwrap();
    assert_eq!(
        (row.revision, row.body.as_str(), row.updated_at),
        (2, "{\"a\":1}", at(7))
    );
    let stale = environments
        .update(
            &MINE,
            "env_1",
            Some(1),
            "{}".to_owned(),
            Keep::default(),
            at(8),
        )
        .await;
    assert!(matches!(
        stale,
        Err(UpdateEnvironmentError::RevisionMismatch { current: 2 })
    ));
    let absent = environments
        .update(
            &MINE,
            "env_9",
            None,
            "{}".to_owned(),
            Keep::default(),
            at(8),
        )
        .await;
    assert!(matches!(absent, Err(UpdateEnvironmentError::NotFound)));
}

#[tokio::test]
async fn an_environment_is_deleted_only_when_no_session_refers_to_it() {
    let bed = Bed::with_session("sesn_1").await;
    let environments = bed.store.environments();
    let used = environments.delete(&MINE, "env_1").await;
    assert!(matches!(
        used,
        Err(DeleteEnvironmentError::InUse { sessions: 1 })
    ));
    bed.store.sessions().delete(&MINE, "sesn_1").await.unwrap();
    environments.delete(&MINE, "env_1").await.unwrap();
    assert!(matches!(
        environments.delete(&MINE, "env_1").await,
        Err(DeleteEnvironmentError::NotFound)
    ));
}

#[tokio::test]
async fn the_records_of_another_workspace_look_absent() {
    let bed = Bed::with_session("sesn_1").await;
    let (agents, environments, sessions) = (
        bed.store.agents(),
        bed.store.environments(),
        bed.store.sessions(),
    );
    assert!(
        agents
            .get(&THEIRS, "agent_1", None)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        agents
            .archive(&THEIRS, "agent_1", at(9))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        agents
            .list(&THEIRS, AgentQuery::default())
            .await
            .unwrap()
            .rows
            .is_empty()
    );
    assert!(
        agents
            .versions(&THEIRS, "agent_1", PageQuery::default())
            .await
            .unwrap()
            .is_none()
    );
    let version = agents
        .add_version(&THEIRS, "agent_1", None, "{}".to_owned(), at(9))
        .await;
    assert!(matches!(version, Err(AddVersionError::NotFound)));
    assert!(environments.get(&THEIRS, "env_1").await.unwrap().is_none());
    assert!(
        environments
            .archive(&THEIRS, "env_1", at(9))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        environments
            .list(&THEIRS, EnvironmentQuery::default())
            .await
            .unwrap()
            .rows
            .is_empty()
    );
    let update = environments
        .update(
            &THEIRS,
            "env_1",
            None,
            "{}".to_owned(),
            Keep::default(),
            at(9),
        )
        .await;
    assert!(matches!(update, Err(UpdateEnvironmentError::NotFound)));
    let delete = environments.delete(&THEIRS, "env_1").await;
    assert!(matches!(delete, Err(DeleteEnvironmentError::NotFound)));
    assert!(sessions.get(&THEIRS, "sesn_1").await.unwrap().is_none());
    assert!(
        sessions
            .archive(&THEIRS, "sesn_1", at(9))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        sessions
            .update(&THEIRS, "sesn_1", SessionUpdate::default(), at(9))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        sessions
            .list(&THEIRS, SessionQuery::default())
            .await
            .unwrap()
            .rows
            .is_empty()
    );
    assert!(!sessions.delete(&THEIRS, "sesn_1").await.unwrap());
    let enqueue = bed
        .store
        .events()
        .enqueue(&THEIRS, "sesn_1", vec![queued("a")])
        .await;
    assert!(matches!(enqueue, Err(EnqueueError::NotFound)));
    let list = bed
        .store
        .events()
        .list(&THEIRS, "sesn_1", EventQuery::default())
        .await
        .unwrap();
    assert!(list.is_none());
    assert!(
        sessions
            .get(&MINE, "sesn_1")
            .await
            .unwrap()
            .unwrap()
            .archived_at
            .is_none()
    );
}

fn call(id: &str, cost: Option<i64>) -> ModelCall {
    ModelCall {
        id: id.to_owned(),
        session_id: "sesn_1".to_owned(),
        workspace_id: WS.to_owned(),
        model: "claude".to_owned(),
        started_at: at(50),
        status: 200,
        latency_ms: 12,
        ttft_ms: Some(3),
        input_tokens: 10,
        output_tokens: 20,
        cache_read_tokens: 30,
        cache_creation_5m_tokens: 40,
        cache_creation_1h_tokens: 50,
        cost_microcents: cost,
        error: cost.is_none().then(|| "cut".to_owned()),
        request_id: None,
        web_searches: 0,
    }
}

#[tokio::test]
async fn usage_counts_every_call_once_and_keeps_unknown_prices_apart() {
    let bed = Bed::with_session("sesn_1").await;
    let usage = bed.store.usage();
    assert_eq!(usage.totals("sesn_1").await.unwrap(), Totals::default());
    for call in [call("a", Some(7)), call("a", Some(7)), call("b", None)] {
        usage.record(call).await.unwrap();
    }
    assert_eq!(
        usage.calls("sesn_1").await.unwrap(),
        [call("a", Some(7)), call("b", None)]
    );
    let totals = usage.totals("sesn_1").await.unwrap();
    assert_eq!(
        (
            totals.calls,
            totals.failed,
            totals.unpriced,
            totals.cost_microcents
        ),
        (2, 1, 1, 7)
    );
    assert_eq!(
        (totals.input_tokens, totals.cache_creation_1h_tokens),
        (20, 100)
    );
    let gone = ModelCall {
        session_id: "sesn_9".to_owned(),
        ..call("c", None)
    };
    assert!(matches!(
        usage.record(gone).await,
        Err(RecordError::NotFound)
    ));
}

#[tokio::test]
async fn daily_sums_are_kept_apart_and_outlive_their_session() {
    const DAY: i64 = 24 * 3600 * 1_000_000;
    let bed = Bed::with_session("sesn_1").await;
    bed.store
        .agents()
        .create(agent("agent_2", 1))
        .await
        .unwrap();
    let other = SessionRow {
        agent_id: "agent_2".to_owned(),
        ..session("sesn_2")
    };
    bed.store
        .sessions()
        .create(other, Vec::new())
        .await
        .unwrap();
    let usage = bed.store.usage();
    let made = |id: &str, session: &str, day: i64, cost| ModelCall {
        session_id: session.to_owned(),
        started_at: at(day * DAY + 5),
        ..call(id, cost)
    };
    for call in [
        made("a", "sesn_1", 1, Some(7)),
        made("b", "sesn_1", 2, Some(10)),
        made("b", "sesn_1", 2, Some(10)),
        made("c", "sesn_2", 2, Some(100)),
        made("d", "sesn_2", 2, None),
    ] {
        usage.record(call).await.unwrap();
    }
    let spent = async |workspace: &str, agent: Option<&str>, since: i64| {
        let totals = usage
            .spent_since(workspace, agent, at(since))
            .await
            .unwrap();
        (totals.calls, totals.cost_microcents, totals.unpriced)
    };
    for _ in 0..2 {
        assert_eq!(spent(WS, None, DAY).await, (4, 117, 1));
        assert_eq!(spent(WS, None, 2 * DAY).await, (3, 110, 1));
        // A day counts whole, whenever in it the caller begins.
        assert_eq!(spent(WS, None, 3 * DAY - 1).await, (3, 110, 1));
        assert_eq!(spent(WS, None, 3 * DAY).await, (0, 0, 0));
        assert_eq!(spent(WS, Some("agent_1"), 2 * DAY).await, (1, 10, 0));
        assert_eq!(spent(WS, Some("agent_2"), 2 * DAY).await, (2, 100, 1));
        assert_eq!(spent(OTHER_WS, None, 0).await, (0, 0, 0));
        bed.store.sessions().delete(&MINE, "sesn_2").await.unwrap();
    }
    let totals = usage.spent_since(WS, Some("agent_2"), at(0)).await.unwrap();
    assert_eq!(
        (
            totals.failed,
            totals.output_tokens,
            totals.cache_creation_1h_tokens
        ),
        (1, 40, 100)
    );
}

#[tokio::test]
async fn a_call_is_settled_in_its_row_and_in_the_sum_of_its_day() {
    let bed = Bed::with_session("sesn_1").await;
    let usage = bed.store.usage();
    let left = ModelCall {
        input_tokens: 0,
        output_tokens: 0,
        cache_read_tokens: 0,
        cache_creation_5m_tokens: 0,
        cache_creation_1h_tokens: 0,
        error: Some("unsettled".to_owned()),
        ..call("a", Some(100))
    };
    usage.record(left.clone()).await.unwrap();
    let day = || usage.spent_since(WS, Some("agent_1"), left.started_at);
    assert_eq!(day().await.unwrap().cost_microcents, 100);
    usage
        .settle(call("a", Some(7)), "agent_1", Some(100))
        .await
        .unwrap();
    assert_eq!(usage.calls("sesn_1").await.unwrap(), [call("a", Some(7))]);
    assert_eq!(day().await.unwrap(), usage.totals("sesn_1").await.unwrap());
    // One whose session is deleted meanwhile is settled in the sum alone.
    usage
        .record(ModelCall {
            id: "b".to_owned(),
            ..left.clone()
        })
        .await
        .unwrap();
    bed.store.sessions().delete(&MINE, "sesn_1").await.unwrap();
    usage
        .settle(call("b", None), "agent_1", Some(100))
        .await
        .unwrap();
    let totals = day().await.unwrap();
    assert_eq!(
        (
            totals.cost_microcents,
            totals.unpriced,
            totals.calls,
            totals.failed
        ),
        (7, 1, 2, 1)
    );
}
