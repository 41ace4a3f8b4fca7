//! kill -9 of anything at any moment of a session's life: while it claims a spare, is frozen, saved,
//! brought back, or gets another claude. Nothing that was acknowledged is lost or done twice, the
//! money adds up, and nothing is left.

use std::time::Duration;

use integration::chance::Chance;
use integration::{Agent, Process, Sandbox, Session, World};
use serde_json::{Value, json};

use super::{bash, restless};

/// Rounds; each takes a second or two.
const ROUNDS: u64 = 12;
/// Bytes of a token, as the scripted model counts.
const TOKEN: usize = 4;
/// Calls of one session that a killed server may have under way, or not yet written down as ended.
const UNDER_WAY: usize = 2;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Server,
    Guest,
    Claude,
}

const ALL: [Victim; 3] = [Victim::Server, Victim::Guest, Victim::Claude];

impl Victim {
    /// Kills one of its kind, if there is one at this moment. Version 1 of control groups lets nothing
    /// die that is frozen, so nobody waits for its end.
    async fn kill(self, world: &mut World, chance: &mut Chance) {
        world.note();
        let sandboxes = Sandbox::all(&world.data);
        match self {
            Victim::Server => {
                world.crash().await;
                world.restart().await;
            }
            _ if sandboxes.is_empty() => {}
            Victim::Guest => pick(&sandboxes, chance).guest.kill(),
            Victim::Claude => {
                let below = pick(&sandboxes, chance).guest.descendants().into_iter();
                let claude = |process: &Process| process.arguments()[0] == "/opt/hostel/claude";
                if let Some(claude) = below.rev().find(claude) {
                    claude.kill();
                }
            }
        }
    }
}

fn pick<'a>(sandboxes: &'a [Sandbox], chance: &mut Chance) -> &'a Sandbox {
    let at = chance.below(sandboxes.len() as u64);
    &sandboxes[usize::try_from(at).unwrap()]
}

#[tokio::test]
async fn whatever_is_killed_whenever_sessions_go_on_and_nothing_is_lost_or_left() {
    let world = restless().set("sandbox.soft_memory_percent", 10);
    let Some(mut world) = world.set("sandbox.memory_mib", 700).start().await else {
        return;
    };
    let mut chance = Chance::new();
    let hosting = json!({"idle_timeout": 0.3, "pool": {"min": 1, "max": 1}});
    let environment = world.environment(&hosting).await;
    let agent = world.agent(&Agent::free()).await;
    let mut sessions = Vec::new();
    let mut crashes = 0;
    for round in 0..ROUNDS {
        // A new session claims a spare, an old one is thawed, brought back, or gets another claude.
        if round % 4 == 0 {
            sessions.push(world.hosted(&agent, &environment).await);
        }
        let session = chance.one_of(&sessions.iter().collect::<Vec<_>>()).clone();
        let (victim, moment) = (chance.one_of(&ALL), chance.below(2500));
        println!("round {round}: {victim:?} after {moment} ms");
        let work = format!("echo {round} >> log; cat log");
        session
            .say(&format!("{}\n@say round {round}", bash(&work)))
            .await;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        victim.kill(&mut world, &mut chance).await;
        crashes += usize::from(victim == Victim::Server);
        let turn = session.idle().await;
        assert_eq!(turn.stop_reason(), "end_turn", "{:?}", turn.errors());
        assert_eq!(turn.texts().last().unwrap(), &format!("round {round}"));
        assert!(turn.errors().iter().all(|(.., next)| next == "retrying"));
        let said = turn.of("agent.tool_result").pop().unwrap();
        in_order(said["content"][0]["text"].as_str().unwrap(), round);
        world.remembered(&session);
    }
    for session in &sessions {
        let turn = session.turn("@say fine").await;
        assert_eq!(turn.stop_reason(), "end_turn", "{:?}", turn.errors());
        world.remembered(session);
        paid(&world, session, crashes).await;
    }
    world.end().await;
}

/// A file that each round writes to has this round, and of those before none in the wrong place: what
/// was not saved when its sandbox was killed is gone, and a turn that began again may have written
/// twice.
fn in_order(text: &str, round: u64) {
    let rounds: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(rounds.is_sorted(), "{rounds:?}");
    assert_eq!(rounds.last(), Some(&round));
}

/// Every call of the session's that reached the model is counted once. Only one that was under way
/// when its server was killed is counted by what was set aside for it, which has no tokens.
async fn paid(world: &World, session: &Session, crashes: usize) {
    let marks = session.marks();
    let asked = world.asked().into_iter();
    let asked = asked.filter(|request| !request.path.contains("count_tokens"));
    let mut calls: Vec<usize> = asked
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .filter(|body| marks.iter().any(|mark| body.contains(mark)))
        .map(|body| body.len().div_ceil(TOKEN))
        .collect();
    calls.sort_unstable();
    let usage = session.show().await["usage"].clone();
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap_or(0)).unwrap();
    let counted = number(&usage["input_tokens"])
        + number(&usage["cache_read_input_tokens"])
        + number(&usage["cache_creation"]["ephemeral_5m_input_tokens"])
        + number(&usage["cache_creation"]["ephemeral_1h_input_tokens"]);
    let all: usize = calls.iter().sum();
    let lost: usize = calls.iter().rev().take(crashes * UNDER_WAY).sum();
    assert!(
        (all - lost..=all).contains(&counted),
        "{counted} of {all}, at most {lost} under way: {usage}"
    );
}
