//! Budgets, rate limits and the books, with calls at once and a server that is killed under them.

use std::time::Duration;

use integration::chance::Chance;
use integration::{Agent, Session, Setup, World, until};
use serde_json::{Value, json};
use store::{DEFAULT_WORKSPACE, ModelCall, Store};

/// Millionths of a cent in a cent.
const CENT: i64 = 1_000_000;

/// A script whose agent makes `count` calls of its own at once, each answered by `script`, as subagents
/// would: past claude, but with what claude has in its environment.
fn at_once(count: u32, max_tokens: u32, script: &str) -> String {
    // The scripted model takes its time only where there are tools.
    let tool = json!({"name": "none", "input_schema": {"type": "object"}});
    let body = json!({
        "model": "claude-sonnet-5", "max_tokens": max_tokens, "stream": true, "tools": [tool],
        "messages": [{"role": "user", "content": script}]
    });
    let command = format!(
        "for i in $(seq {count}); do curl -s -o /dev/null -H \"x-api-key: $ANTHROPIC_API_KEY\" \
         \"$ANTHROPIC_BASE_URL/v1/messages\" -d '{body}' & done; wait"
    );
    format!("@tool Bash {}\n@say done", json!({"command": command}))
}

fn cents(cents: u64) -> Value {
    json!({"amount": cents.to_string(), "currency": "USD"})
}

async fn list_cost(session: &Session) -> u64 {
    let shown = session.show().await;
    let amount = shown["usage"]["list_cost"]["amount"].as_str().unwrap();
    amount.parse().unwrap()
}

fn budget(cap: u64) -> Value {
    json!({"budget": {"type": "limit", "max_list_cost": cents(cap)}})
}

/// What the store has of a session's calls, once the server has stopped.
async fn kept(world: &World, session: &Session) -> (Vec<ModelCall>, i64) {
    let store = Store::open(&world.data).unwrap();
    let calls = store.usage().calls(&session.id).await.unwrap();
    let since = calls[0].started_at;
    let day = store.usage().spent_since(DEFAULT_WORKSPACE, None, since);
    let day = day.await.unwrap().cost_microcents;
    (calls, day)
}

fn cost(calls: &[ModelCall]) -> i64 {
    calls.iter().map(|call| call.cost_microcents.unwrap()).sum()
}

#[tokio::test]
async fn a_budget_is_not_overspent_by_calls_at_once() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = world.session_with(&Agent::free(), &budget(200)).await;
    session.turn("@say first").await.answered("first");
    // 25,000 tokens for 25 cents each; the worst case of one is 33 cents and its request.
    let turn = session
        .turn(&at_once(30, 30_000, "@repeat 20000 word"))
        .await;
    assert_eq!(turn.stop_reason(), "budget_reached", "{turn:#?}");
    let refused = json!([session.message("@say never")]);
    let answer = session.send(&refused).await;
    answer.refused(400, "invalid_request_error", "budget is used up");
    let used = list_cost(&session).await;
    assert!((200..=235).contains(&used), "{used} cents of 200");
    let path = session.path("");
    world.client.post(&path, &budget(1_000)).await.ok();
    session.turn("@say fine").await.answered("fine");
    let used = list_cost(&session).await;
    world.stop().await;
    let (calls, day) = kept(&world, &session).await;
    assert!(calls.iter().all(|call| call.status == 200), "{calls:#?}");
    let sum = cost(&calls);
    assert_eq!(day, sum);
    assert_eq!(used, (sum as u64).div_ceil(CENT as u64));
}

#[tokio::test]
async fn the_days_of_an_agent_and_of_the_workspace_are_kept() {
    let setup = Setup::default().set("budgets.workspace_per_day", 100);
    let Some(mut world) = setup.start().await else {
        return;
    };
    let first = world.session(&Agent::free()).await;
    first.turn("@say first").await.answered("first");
    // An agent's own limit, which a cent has reached already, and then has not.
    let agent = first.show().await["agent"]["id"].clone();
    let path = format!("/v1/agents/{}", agent.as_str().unwrap());
    let change = |version: u32, cap: u64| json!({"version": version, "limits": {"max_cost_per_day": cents(cap)}});
    world.client.post(&path, &change(1, 1)).await.ok();
    world.stop().await;
    world.restart().await;
    let turn = first.turn("@say never").await;
    turn.told("billing_error", "daily budget of agent", "exhausted");
    assert_eq!(
        (turn.texts(), turn.stop_reason().as_str()),
        (vec![], "budget_reached")
    );
    world.client.post(&path, &change(2, 10_000)).await.ok();
    first.turn("@say again").await.answered("again");
    let turn = first.turn(&at_once(20, 30_000, "@repeat 20000 word")).await;
    assert_eq!(turn.stop_reason(), "budget_reached");
    // The workspace's holds for another session and agent, and after a restart.
    let second = world.session(&Agent::free()).await;
    for _ in 0..2 {
        let turn = second.turn("@say never").await;
        assert_eq!(
            (turn.texts(), turn.stop_reason().as_str()),
            (vec![], "budget_reached")
        );
        world.stop().await;
        world.restart().await;
    }
    let used = list_cost(&first).await;
    assert!((100..=135).contains(&used), "{used} cents of 100");
    assert_eq!(list_cost(&second).await, 0);
    world.end().await;
}

#[tokio::test]
async fn a_429_pauses_two_sessions_and_fails_neither() {
    let Some(world) = World::new().await else {
        return;
    };
    let (one, two) = (
        world.session(&Agent::free()).await,
        world.session(&Agent::free()).await,
    );
    for session in [&one, &two] {
        session.turn("@say first").await.answered("first");
    }
    let before = world.asked().len();
    one.say("@error 429 rate_limit_error retry-after=3 times=1\n@say one")
        .await;
    one.event("session.error").await;
    let limited = world.asked()[before].at;
    let turn = two.turn(&at_once(8, 100, "@say hello")).await;
    turn.answered("done");
    assert_eq!(one.idle().await.texts(), ["one"]);
    let asked = world.asked();
    let after = &asked[before + 1..];
    let waited = after.iter().map(|asked| {
        asked
            .at
            .duration_since(limited)
            .unwrap_or_default()
            .as_secs_f64()
    });
    let waited: Vec<f64> = waited.collect();
    assert!(waited.iter().all(|seconds| *seconds >= 2.9), "{waited:?}");
    // One's second attempt, and two's ten, of which none was refused.
    assert_eq!(waited.len(), 11, "{waited:?}");
    world.end().await;
}

#[tokio::test]
async fn a_server_that_is_killed_under_its_calls_loses_no_money_and_counts_none_twice() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let mut chance = Chance::new();
    let session = world.session(&Agent::free()).await;
    session.turn("@say first").await.answered("first");
    for _ in 0..3 {
        let before = world.asked().len();
        let calls = at_once(6, 2_000, "@slow 100\n@repeat 60 word");
        session.say(&calls).await;
        // Somewhere between the first call and the last.
        let wait = before + 1 + usize::try_from(chance.below(6)).unwrap();
        until("calls under way", || {
            (world.asked().len() >= wait).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        world.crash().await;
        world.deserted().await;
        world.restart().await;
        session.idle().await;
    }
    session.turn("@say last").await.answered("last");
    let used = list_cost(&session).await;
    let asked = world.asked().len();
    world.stop().await;
    let (calls, day) = kept(&world, &session).await;
    let with = |error: Option<&str>| {
        let found = calls.iter().filter(|call| call.error.as_deref() == error);
        found.count()
    };
    let (whole, unsettled) = (with(None), with(Some("unsettled")));
    println!(
        "{asked} asked, {whole} whole, {unsettled} unsettled, {} rows",
        calls.len()
    );
    // Each call that the model saw is there, and none of them as two; a call that was recorded and whose
    // server was killed before it left is there, too.
    assert!(calls.len() >= asked, "{} of {asked} are kept", calls.len());
    assert!(calls.len() - unsettled <= asked && whole <= asked);
    assert!(unsettled > 0, "no call was under way at any of the kills");
    let worst = calls
        .iter()
        .filter(|call| call.error.as_deref() == Some("unsettled"));
    assert!(
        worst
            .into_iter()
            .all(|call| call.cost_microcents > Some(2 * CENT))
    );
    let sum = cost(&calls);
    assert_eq!(day, sum, "the sum of the day is that of its calls");
    assert_eq!(used, (sum as u64).div_ceil(CENT as u64));
}
