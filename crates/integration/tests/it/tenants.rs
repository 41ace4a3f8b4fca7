//! Workspaces beside each other: what each may use, and whose turn it is when the machine is full.

use integration::{Agent, Client, Events, Session, Setup, World};
use serde_json::{Value, json};

/// A workspace with these limits: its id, and a client with an admin key of it.
async fn workspace(world: &World, limits: Value) -> (String, Client) {
    let wanted = json!({"name": "theirs", "limits": limits});
    let made = world.client.post("/v1/workspaces", &wanted).await.ok();
    let id = made["id"].as_str().unwrap().to_owned();
    let wanted = json!({"name": "k", "scope": "admin", "workspace_id": id});
    let key = world.client.post("/v1/api_keys", &wanted).await.ok();
    let client = world.client.with_key(key["key"].as_str().unwrap());
    (id, client)
}

/// Makes a session hold its place: a call that waits for its client is not given up.
async fn hold(session: &Session) -> Value {
    let script = "@tool mcp__custom__lookup {}\n@say got {{result}}";
    session.say(script).await;
    let call = session.event("agent.custom_tool_use").await;
    assert_eq!(session.idle().await.stop_reason(), "requires_action");
    call
}

#[tokio::test]
async fn a_free_place_goes_to_the_workspace_that_has_none() {
    let setup = Setup::default().set("limits.max_sandboxes", 1);
    let Some(world) = setup.start().await else {
        return;
    };
    let (_, theirs) = workspace(&world, json!({})).await;
    let agent = Agent::with_custom_tool("lookup");
    let first = world.session(&agent).await;
    let call = hold(&first).await;
    let second = world.session(&agent).await;
    second.say("@say mine").await;
    let told = second.event("hostel.queued").await;
    assert_eq!(
        (&told["position"], &told["reason"]),
        (&json!(1), &json!("server_full"))
    );
    let third = world.session_of(theirs, &agent).await;
    third.say("@say theirs").await;
    let told = third.event("hostel.queued").await;
    assert_eq!(told["position"], json!(1), "it came later and is next");
    first.result(&call, "42").await.ok();
    first.idle().await.answered("got 42");
    let (theirs, mine) = (third.idle().await, second.idle().await);
    theirs.answered("theirs");
    mine.answered("mine");
    let spoke = |turn: &Events| turn.only("agent.message")["processed_at"].to_string();
    assert!(spoke(&theirs) < spoke(&mine));
    world.end().await;
}

#[tokio::test]
async fn a_workspace_waits_for_its_own_limit_and_goes_on_when_it_is_raised() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let (id, theirs) = workspace(&world, json!({"max_memory": "1536MiB"})).await;
    let agent = Agent::with_custom_tool("lookup");
    let first = world.session_of(theirs.clone(), &agent).await;
    hold(&first).await;
    let second = world.session_of(theirs.clone(), &agent).await;
    second.say("@say second").await;
    let told = second.event("hostel.queued").await;
    assert_eq!(
        (&told["position"], &told["reason"]),
        (&json!(1), &json!("workspace_limit"))
    );
    let mine = world.session(&agent).await;
    mine.turn("@say mine").await.answered("mine");
    let path = format!("/v1/workspaces/{id}");
    let limits = |memory: &str| json!({"limits": {"max_memory": memory}});
    world.client.post(&path, &limits("4GiB")).await.ok();
    second.idle().await.answered("second");
    // What holds is kept over a restart.
    world.client.post(&path, &limits("64MiB")).await.ok();
    first.archive().await.ok();
    world.stop().await;
    world.restart().await;
    let third = world.session_of(theirs, &agent).await;
    let turn = third.turn("@say never").await;
    turn.told(
        "unknown_error",
        "more memory or disk than its workspace may",
        "exhausted",
    );
    world.end().await;
}

#[tokio::test]
async fn a_day_of_a_workspace_has_its_own_budget() {
    let Some(world) = World::new().await else {
        return;
    };
    let cents = |amount: &str| json!({"limits": {"max_cost_per_day": {"amount": amount, "currency": "USD"}}});
    let (id, theirs) = workspace(&world, cents("1")["limits"].clone()).await;
    let session = world.session_of(theirs, &Agent::free()).await;
    session.turn("@say first").await.answered("first");
    let turn = session.turn("@repeat 20000 word").await;
    let over = match turn.stop_reason() == "budget_reached" {
        true => turn,
        false => session.turn("@say never").await,
    };
    assert_eq!(over.stop_reason(), "budget_reached");
    over.told("billing_error", "daily budget of workspace", "exhausted");
    // Another workspace has its own money, and a raised limit holds at once.
    world
        .session(&Agent::free())
        .await
        .turn("@say mine")
        .await
        .answered("mine");
    let path = format!("/v1/workspaces/{id}");
    world.client.post(&path, &cents("100000")).await.ok();
    session.turn("@say again").await.answered("again");
    world.end().await;
}
