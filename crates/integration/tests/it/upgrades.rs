//! Upgrades of the claude CLI with two published versions: proved in a sandbox before they are
//! offered, rolled back by one command, cut short at any moment without harm.

use std::process::Output;
use std::time::Duration;

use integration::chance::Chance;
use integration::cli::{before_version, real_version};
use integration::{Agent, Cli, PATIENCE, Process, Setup, World, leftovers, until};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// `hostel cli …` on the world's data directory.
fn command(world: &World, words: &[&str]) -> Command {
    let mut command = Command::new(integration::server::binary());
    command.arg("cli").args(words).args(["--json", "--data"]);
    command
        .arg(&world.data)
        .env("HOSTEL_API_KEY", world.client.key());
    command.env_remove("ANTHROPIC_API_KEY").kill_on_drop(true);
    command
}

async fn cli(world: &World, words: &[&str]) -> Output {
    let output = command(world, words).output();
    tokio::time::timeout(PATIENCE * 3, output)
        .await
        .unwrap()
        .unwrap()
}

/// What the command printed; it must have worked.
async fn done(world: &World, words: &[&str]) -> Vec<Value> {
    let output = cli(world, words).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What the command said when it failed, as it must.
async fn refused(world: &World, words: &[&str]) -> String {
    let output = cli(world, words).await;
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let error: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    error["error"]["message"].as_str().unwrap().to_owned()
}

/// A version as `hostel cli list` shows it.
async fn shown(world: &World, version: &str) -> Value {
    let url = world.client.url();
    let all = done(world, &["list", "--server", &url]).await;
    let found = all.iter().find(|one| one["version"] == version);
    found
        .unwrap_or_else(|| panic!("{version} in {all:?}"))
        .clone()
}

/// Which version spoke to the model last.
fn speaker(world: &World) -> String {
    let asked = world.asked();
    let agent = &asked.last().unwrap().headers["user-agent"];
    let agent = agent.to_str().unwrap();
    let known = [before_version(), real_version()];
    let version = known
        .into_iter()
        .find(|version| agent.contains(version.as_str()));
    version.unwrap_or_else(|| panic!("no known version in {agent}"))
}

/// A server with the version before, proved.
async fn world() -> Option<World> {
    let world = Setup::default().cli(Cli::Before).start().await?;
    done(&world, &["upgrade", &before_version()]).await;
    Some(world)
}

#[tokio::test]
async fn a_version_is_proved_offered_and_rolled_back() {
    let Some(mut world) = world().await else {
        return;
    };
    let (old, new) = (before_version(), real_version());
    let first = shown(&world, &old).await;
    assert_eq!(
        (&first["default"], &first["canary"]["from"]),
        (&json!(true), &Value::Null)
    );

    let kept = world.session(&Agent::free()).await;
    kept.turn("@say one").await.answered("one");
    assert_eq!(speaker(&world), old);

    // As an installation by number: there, and nobody's yet.
    Cli::Real.install(&world.data);
    assert_eq!(shown(&world, &new).await["standing"], "unproved");
    let other = world.session(&Agent::free()).await;
    other.turn("@say two").await.answered("two");
    assert_eq!(speaker(&world), old);
    assert_eq!(shown(&world, &old).await["sandboxes"], 2);

    done(&world, &["upgrade", &new]).await;
    let proved = shown(&world, &new).await;
    assert_eq!(
        (&proved["default"], &proved["canary"]["passed"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(proved["canary"]["from"], old.as_str());
    let steps = proved["canary"]["steps"].to_string();
    assert!(steps.contains("resume of the version before"), "{steps}");
    assert!(!world.data.join("canary").exists());

    // What runs keeps its version, what is started takes the new one.
    kept.turn("@say three").await.answered("three");
    assert_eq!(speaker(&world), old);
    let fresh = world.session(&Agent::free()).await;
    fresh.turn("@say four").await.answered("four");
    assert_eq!(speaker(&world), new);
    let refusal = refused(&world, &["rm", &old]).await;
    assert!(refusal.contains("runs in 2 sandboxes"), "{refusal}");

    // A session that was begun by the version before is gone on with by the new one.
    world.stop().await;
    world.restart().await;
    kept.turn("@say five").await.answered("five");
    assert_eq!(speaker(&world), new);
    world.remembered(&kept);

    done(&world, &["rollback"]).await;
    assert_eq!(shown(&world, &new).await["standing"], "withdrawn");
    let back = world.session(&Agent::free()).await;
    back.turn("@say six").await.answered("six");
    assert_eq!(speaker(&world), old);
    let named = world
        .session(&Agent::free().run_by(&format!("={new}")))
        .await;
    named.turn("@say seven").await.answered("seven");
    assert_eq!(speaker(&world), new);
    world.end().await;
}

#[tokio::test]
async fn what_fails_its_canary_is_offered_to_nobody() {
    let Some(world) = world().await else {
        return;
    };
    let old = before_version();
    Cli::Fake("#!/bin/sh\necho 'no such flag' >&2; exit 3\n".to_owned()).install(&world.data);
    let why = refused(&world, &["upgrade", "9.9.9"]).await;
    assert!(
        why.contains("claude 9.9.9 failed its canary: start and turn")
            && why.contains("no such flag"),
        "{why}"
    );
    let report = shown(&world, "9.9.9").await;
    assert_eq!(
        (&report["standing"], &report["canary"]["passed"]),
        (&json!("unproved"), &json!(false))
    );
    assert_eq!(shown(&world, &old).await["default"], true);
    assert!(!world.data.join("canary").exists());
    let session = world.session(&Agent::free()).await;
    session.turn("@say as before").await.answered("as before");
    assert_eq!(speaker(&world), old);
    world.end().await;
}

#[tokio::test]
async fn agent_and_environment_must_be_had_together() {
    let Some(world) = world().await else {
        return;
    };
    let old = before_version();
    let agent = json!({"name": "a", "model": "claude-sonnet-5", "cli": format!("={old}")});
    let agent = world.client.post("/v1/agents", &agent).await.ok();
    let environment = |cli: &str, pattern: &str| json!({"name": "e", "config": {"type": "cloud", "hosting": {"cli": cli, "pattern": pattern}}});
    let create = async |environment: Value| {
        let environment = world
            .client
            .post("/v1/environments", &environment)
            .await
            .ok();
        let wanted = json!({"agent": agent["id"], "environment_id": environment["id"]});
        world.client.post("/v1/sessions", &wanted).await
    };
    let both = create(environment(">2.9", "hybrid")).await;
    let message = format!("fits the agent's ={old} and the environment's >2.9");
    both.refused(400, "invalid_request_error", &message);
    let shared = create(environment("^2", "shared")).await;
    shared.refused(
        400,
        "invalid_request_error",
        "agent.cli: the sessions of a `shared`",
    );
    create(environment("^2", "hybrid")).await.ok();
    let serves = shown(&world, &old).await["serves"].to_string();
    assert!(serves.contains(agent["id"].as_str().unwrap()), "{serves}");
    world.end().await;
}

#[tokio::test]
async fn an_upgrade_that_is_killed_at_any_moment_harms_nothing() {
    let Some(mut world) = world().await else {
        return;
    };
    let (old, new) = (before_version(), real_version());
    Cli::Real.install(&world.data);
    let mut chance = Chance::new();
    for _ in 0..4 {
        let moment = Duration::from_millis(chance.below(8_000));
        let mut upgrade = command(&world, &["upgrade", &new])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let ended = tokio::time::timeout(moment, upgrade.wait()).await;
        killed(&mut upgrade).await;
        let list = [shown(&world, &old).await, shown(&world, &new).await];
        let defaults = list.iter().filter(|one| one["default"] == true);
        assert_eq!(defaults.count(), 1, "{list:?}");
        // Offered is what passed, and nothing else.
        let passed = list[1]["canary"]["passed"] == true;
        assert_eq!(
            list[1]["standing"] == "offered",
            passed,
            "{ended:?} {list:?}"
        );
        assert_eq!(list[1]["default"], passed, "{list:?}");
        let session = world.session(&Agent::free()).await;
        session.turn("@say still here").await.answered("still here");
    }
    // The next start of the server clears what was left, also what was frozen.
    world.stop().await;
    world.restart().await;
    assert!(!world.data.join("canary").exists());
    let left = leftovers::of(&world.data.join("canary"), &Default::default());
    assert!(left.is_empty(), "{left:#?}");
    done(&world, &["upgrade", &new]).await;
    assert_eq!(shown(&world, &new).await["default"], true);
    world.end().await;
}

/// kill -9, and the end of the processes below it that do not outlive it.
async fn killed(upgrade: &mut Child) {
    if let Some(pid) = upgrade.id() {
        let process = Process::of(i32::try_from(pid).unwrap());
        upgrade.kill().await.unwrap();
        if let Some(process) = process {
            until("the end of a killed upgrade", || {
                (!process.lives()).then_some(())
            })
            .await;
        }
    }
}
