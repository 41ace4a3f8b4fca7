use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::Utc;
use egress::{Admission, Estimate, Microcents, Networking, Reservation, Tokens, Usage, UsageSink};
use serde_json::json;
use store::{DEFAULT_WORKSPACE, Keep, NewAgent, NewEnvironment, Realm, SessionRow, Status};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;

const CENT: u64 = 1_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A store with an agent and its sessions `a` and `b`, and a ledger on it.
struct World {
    store: Arc<Store>,
    ledger: Arc<Ledger>,
    daily: Daily,
    now: SystemTime,
    _data: TempDir,
}

fn cents(cents: u64) -> MonetaryAmount {
    MonetaryAmount::from_cents(cents)
}

fn budget(cents: u64) -> BudgetLimit {
    serde_json::from_value(json!({"type": "limit", "max_list_cost": self::cents(cents)})).unwrap()
}

impl World {
    async fn new(daily: Daily) -> World {
        let data = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(data.path()).unwrap());
        let (workspace_id, created_at) = (DEFAULT_WORKSPACE.to_owned(), Utc::now());
        let agent = NewAgent {
            id: "agent_1".into(),
            workspace_id: workspace_id.clone(),
            body: json!({"name": "a"}).to_string(),
            created_at,
        };
        store.agents().create(agent).await.unwrap();
        let environment = NewEnvironment {
            id: "env_1".into(),
            workspace_id,
            body: "{}".into(),
            keep: Keep::default(),
            created_at,
        };
        store.environments().create(environment).await.unwrap();
        for id in ["a", "b"] {
            store.sessions().create(row(id), Vec::new()).await.unwrap();
        }
        World {
            ledger: ledger(&store, &daily),
            store,
            daily,
            now: SystemTime::now(),
            _data: data,
        }
    }

    /// The server is killed and another begins.
    fn restart(&mut self) {
        self.ledger = ledger(&self.store, &self.daily);
    }

    async fn open(&self, session: &str, budget: Option<&BudgetLimit>) -> Arc<Book> {
        let opening = Opening {
            session,
            workspace: DEFAULT_WORKSPACE,
            agent: "agent_1",
            environment: "env_1",
            policy: Policy::new(Networking::Unrestricted),
            budget,
            max_cost: None,
        };
        self.ledger.open(opening).await.unwrap()
    }

    async fn ask(&self, session: &str, worst: Option<u64>) -> Admission {
        let estimate = Estimate {
            client: ClientId(session.to_owned()),
            model: "claude-opus-5-5".to_owned(),
            started_at: self.now,
            worst: worst.map(Microcents),
        };
        self.ledger.reserve(estimate).await
    }

    async fn allowed(&self, session: &str, worst: u64) -> Box<dyn Reservation> {
        match self.ask(session, Some(worst)).await {
            Admission::Allow(reservation) => reservation,
            Admission::Refuse { message, .. } => panic!("{message}"),
        }
    }

    async fn refused(&self, session: &str, worst: Option<u64>) -> String {
        match self.ask(session, worst).await {
            Admission::Allow(_) => panic!("it is allowed"),
            Admission::Refuse {
                status: 402,
                error_type: "billing_error",
                message,
            } => message,
            Admission::Refuse { message, .. } => panic!("{message}"),
        }
    }

    fn used(&self, cost: u64) -> Usage {
        Usage {
            client: ClientId("a".to_owned()),
            path: "/v1/messages".to_owned(),
            model: "claude-opus-5-5".to_owned(),
            status: 200,
            started_at: self.now,
            latency: Duration::from_millis(5),
            time_to_first_byte: None,
            tokens: Tokens {
                input: 10,
                ..Tokens::default()
            },
            cost: Some(Microcents(cost)),
            error: None,
            request_id: None,
        }
    }

    /// What the store says a session has cost, and the workspace today.
    async fn stored(&self, session: &str) -> (i64, i64) {
        self.ledger.flush().await;
        let usage = self.store.usage();
        let today = usage.spent_since(DEFAULT_WORKSPACE, None, self.now.into());
        let session = usage.totals(session).await.unwrap().cost_microcents;
        (session, today.await.unwrap().cost_microcents)
    }

    async fn limit_agent(&self, version: u32, per_day: u64) {
        let body = json!({"name": "a", "limits": {"max_cost_per_day": cents(per_day)}});
        let agents = self.store.agents();
        let realm = Realm::of(DEFAULT_WORKSPACE);
        let added = agents.add_version(
            &realm,
            "agent_1",
            Some(version),
            body.to_string(),
            Utc::now(),
        );
        added.await.unwrap();
    }
}

fn ledger(store: &Arc<Store>, daily: &Daily) -> Arc<Ledger> {
    Arc::new(Ledger::new(
        store.clone(),
        Ids::random(),
        Clock::system(),
        Handle::current(),
        daily.clone(),
    ))
}

fn row(id: &str) -> SessionRow {
    SessionRow {
        id: id.to_owned(),
        workspace_id: DEFAULT_WORKSPACE.to_owned(),
        agent_id: "agent_1".to_owned(),
        agent_version: 1,
        agent: "{}".to_owned(),
        environment_id: "env_1".to_owned(),
        environment: "{}".to_owned(),
        vault_ids: "[]".to_owned(),
        title: None,
        metadata: "{}".to_owned(),
        budget: None,
        status: Status::Idle,
        attention: false,
        claude_session: "7a0e".to_owned(),
        usage: "{}".to_owned(),
        stats: "{}".to_owned(),
        created_at: Utc::now(),
        updated_at: Utc::now(),
        archived_at: None,
    }
}

#[tokio::test]
async fn calls_at_once_overspend_by_one_call_at_most() {
    let world = Arc::new(World::new(Daily::default()).await);
    let book = world.open("a", Some(&budget(100))).await;
    let mut calls = JoinSet::new();
    for _ in 0..60 {
        let world = world.clone();
        calls.spawn(async move {
            // Thirty cents at worst, seven in the end.
            match world.ask("a", Some(30 * CENT)).await {
                Admission::Allow(reservation) => {
                    tokio::task::yield_now().await;
                    reservation.settle(world.used(7 * CENT));
                    true
                }
                Admission::Refuse { .. } => false,
            }
        });
    }
    let made = calls.join_all().await;
    // The fifteenth begins below a hundred cents and ends above.
    assert_eq!(made.iter().filter(|made| **made).count(), 15);
    let list_cost = book.shown(0.0).list_cost.unwrap();
    assert_eq!(list_cost.cents(), 105);
    let shown = world.ledger.shown("a", 2.5).await.unwrap();
    assert_eq!(shown, Some(book.shown(2.5)));
    assert_eq!(world.ledger.shown("b", 0.0).await.unwrap(), None);
    assert_eq!(world.stored("a").await.0, 105 * CENT as i64);
    let why = world.refused("a", Some(CENT)).await;
    assert!(why.contains("budget of $1.00 is used up"), "{why}");
    assert_eq!(book.refusal(), Some(why));
    book.refused.notified().await;
}

#[tokio::test]
async fn what_was_under_way_when_the_server_died_counts_as_it_was_set_aside() {
    let daily = Daily {
        workspace: Some(cents(1000)),
        agent: None,
    };
    let mut world = World::new(daily).await;
    world.open("a", Some(&budget(100))).await;
    let settled = world.allowed("a", 30 * CENT).await;
    settled.settle(world.used(7 * CENT));
    std::mem::forget(world.allowed("a", 30 * CENT).await);
    assert_eq!(world.stored("a").await, (37_000_000, 37_000_000));
    let calls = world.store.usage().calls("a").await.unwrap();
    let errors: Vec<Option<&str>> = calls.iter().map(|call| call.error.as_deref()).collect();
    assert_eq!(errors, [None, Some("unsettled")]);
    world.restart();
    let shown = world.ledger.shown("a", 0.0).await.unwrap().unwrap();
    assert_eq!(shown.list_cost.unwrap().cents(), 37);
    let book = world.open("a", Some(&budget(100))).await;
    assert_eq!(book.shown(0.0).list_cost.unwrap().cents(), 37);
    // A day's account begins with it, too: 963 cents are left, so this one fits and the next waits.
    let _first = world.allowed("a", 60 * CENT).await;
    world.open("b", None).await;
    let _second = world.allowed("b", 903 * CENT).await;
    let third = world.ask("b", Some(CENT));
    let third = tokio::time::timeout(Duration::from_millis(50), third).await;
    assert!(third.is_err(), "it waits");
}

#[tokio::test]
async fn a_session_that_is_opened_again_goes_on_with_calls_that_are_under_way() {
    let world = World::new(Daily::default()).await;
    world.open("a", None).await;
    let call = world.allowed("a", 30 * CENT).await;
    world.ledger.close("a");
    assert!(matches!(
        world.ask("a", Some(1)).await,
        Admission::Refuse { status: 403, .. }
    ));
    let book = world.open("a", None).await;
    call.settle(world.used(7 * CENT));
    assert_eq!(book.shown(0.0).list_cost.unwrap().cents(), 7);
    assert_eq!(world.stored("a").await.0, 7 * CENT as i64);
    world.ledger.close("a");
    drop(book);
    assert_eq!(
        world
            .open("a", None)
            .await
            .shown(0.0)
            .list_cost
            .unwrap()
            .cents(),
        7
    );
}

#[tokio::test]
async fn a_call_that_ends_after_its_session_is_settled_nevertheless() {
    let world = World::new(Daily::default()).await;
    world.open("a", None).await;
    let call = world.allowed("a", 30 * CENT).await;
    world.ledger.close("a");
    assert!(
        world
            .store
            .sessions()
            .delete(&Realm::of(DEFAULT_WORKSPACE), "a")
            .await
            .unwrap()
    );
    assert_eq!(world.stored("a").await, (0, 30_000_000));
    call.settle(world.used(7 * CENT));
    assert_eq!(world.stored("a").await, (0, 7_000_000));
    world.ledger.close("a");
    assert!(world.ledger.lock().is_empty(), "no book of it is left");
}

#[tokio::test]
async fn a_call_that_was_not_sent_costs_nothing() {
    let world = World::new(Daily::default()).await;
    world.open("a", Some(&budget(100))).await;
    drop(world.allowed("a", 100 * CENT).await);
    assert_eq!(world.stored("a").await, (0, 0));
    let calls = world.store.usage().calls("a").await.unwrap();
    assert_eq!(calls[0].error.as_deref(), Some("not_sent"));
    world.allowed("a", 100 * CENT).await;
}

#[tokio::test]
async fn a_cost_that_cannot_be_told_is_what_was_set_aside() {
    let world = World::new(Daily::default()).await;
    let book = world.open("a", Some(&budget(100))).await;
    let unknown = Usage {
        cost: None,
        ..world.used(0)
    };
    world.allowed("a", 30 * CENT).await.settle(unknown);
    assert_eq!(book.shown(0.0).list_cost.unwrap().cents(), 30);
}

#[tokio::test]
async fn searches_are_shown_when_there_were_some() {
    let world = World::new(Daily::default()).await;
    let book = world.open("a", None).await;
    world.allowed("a", CENT).await.settle(world.used(CENT));
    assert_eq!(book.shown(0.0).server_tool_use, None);
    let mut searched = world.used(CENT);
    searched.tokens.web_searches = 3;
    world.allowed("a", CENT).await.settle(searched);
    let searches = |shown: Shown| shown.server_tool_use.unwrap().web_search_requests;
    assert_eq!(searches(book.shown(0.0)), 3);
    world.ledger.flush().await;
    world.ledger.close("a");
    drop(book);
    assert_eq!(
        searches(world.ledger.shown("a", 0.0).await.unwrap().unwrap()),
        3
    );
}

#[tokio::test]
async fn an_unknown_model_is_refused_where_a_budget_holds() {
    let world = World::new(Daily::default()).await;
    let book = world.open("a", Some(&budget(100))).await;
    let why = world.refused("a", None).await;
    assert!(
        why.contains("\"claude-opus-5-5\" has no price") && why.contains("prices.unknown"),
        "{why}"
    );
    book.set_budget(None);
    let Admission::Allow(call) = world.ask("a", None).await else {
        panic!("no budget holds")
    };
    call.settle(Usage {
        cost: None,
        ..world.used(0)
    });
    assert_eq!(book.shown(0.0).list_cost, None, "never zero");
    book.set_budget(Some(&budget(100)));
    let why = world.refused("a", Some(CENT)).await;
    assert!(why.contains("some of its calls had no price"), "{why}");
}

#[tokio::test]
async fn the_days_of_workspace_and_agent_are_kept_and_begin_anew() {
    let daily = Daily {
        workspace: Some(cents(100)),
        agent: Some(cents(40)),
    };
    let mut world = World::new(daily).await;
    for session in ["a", "b"] {
        world.open(session, None).await;
    }
    world
        .allowed("a", 50 * CENT)
        .await
        .settle(world.used(45 * CENT));
    let why = world.refused("b", Some(CENT)).await;
    assert!(
        why.contains("daily budget of agent agent_1, $0.40") && why.contains("00:00 UTC"),
        "{why}"
    );
    // Its own limit wins over the setting, and is seen at once.
    world.limit_agent(1, 500).await;
    world
        .allowed("b", 50 * CENT)
        .await
        .settle(world.used(60 * CENT));
    let why = world.refused("a", Some(CENT)).await;
    assert!(
        why.contains("daily budget of workspace wrkspc_default, $1.00")
            && why.contains("budgets.workspace_per_day"),
        "{why}"
    );
    world.ledger.flush().await;
    world.restart();
    world.open("a", None).await;
    world.refused("a", Some(CENT)).await;
    world.now += DAY;
    let call = world.allowed("a", 50 * CENT).await;
    call.settle(world.used(CENT));
    world.ledger.flush().await;
    assert_eq!(world.stored("a").await.1, CENT as i64);
}

#[tokio::test]
async fn sessions_that_nobody_has_opened_have_no_book() {
    let world = World::new(Daily::default()).await;
    for _ in 0..3 {
        world.open("a", None).await;
        world.open("b", None).await;
    }
    assert_eq!(world.ledger.lock().len(), 2);
    world.ledger.close("a");
    world.ledger.close("b");
    world.ledger.close("never");
    assert!(world.ledger.lock().is_empty());
}

#[test]
fn a_day_is_one_in_utc() {
    assert_eq!(reserve::day(UNIX_EPOCH + DAY - Duration::from_nanos(1)), 0);
    assert_eq!(reserve::day(UNIX_EPOCH + DAY), 1);
}
