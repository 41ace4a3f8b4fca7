//! kill -9 of anything at any moment of a session's life: while it claims a spare, is frozen, saved,
//! brought back, or gets another claude. Nothing that was acknowledged is lost or done twice, the
//! money adds up, and nothing is left.

use std::time::Duration;

use integration::chance::Chance;
use integration::{Agent, Sandbox, Session, World};
use serde_json::{Value, json};
use store::{ModelCall, Store};

use super::{bash, restless};

/// Rounds; each takes a second or two.
const ROUNDS: u64 = 10;
/// As the scripted model counts.
const BYTES_PER_TOKEN: u64 = 4;

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
    /// die that is frozen; its end would come in the middle of a later turn, beside that turn's own
    /// kill, and a turn begins again once.
    async fn kill(self, world: &mut World, chance: &mut Chance) {
        world.note();
        let sandboxes = Sandbox::all(&world.data);
        let victim = match self {
            Victim::Server => {
                world.crash().await;
                return world.restart().await;
            }
            _ if sandboxes.is_empty() => return,
            Victim::Guest => Some(pick(&sandboxes, chance).guest),
            Victim::Claude => {
                // One that has worked: a spare whose claude died costs the next session its one retry.
                let worked = sandboxes.iter();
                let worked = worked.filter(|sandbox| sandbox.file("/workspace/log").exists());
                let worked: Vec<Sandbox> = worked.cloned().collect();
                if worked.is_empty() {
                    return;
                }
                let mut below = pick(&worked, chance).guest.descendants().into_iter();
                below.find(|process| process.arguments()[0] == "/opt/hostel/claude")
            }
        };
        if let Some(victim) = victim.filter(|victim| !victim.frozen()) {
            victim.kill();
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
        let turn = session.idle().await;
        assert_eq!(turn.stop_reason(), "end_turn", "{:?}", turn.errors());
        assert_eq!(turn.texts().last().unwrap(), &format!("round {round}"));
        assert!(turn.errors().iter().all(|(.., next)| next == "retrying"));
        let said = turn.of("agent.tool_result").pop().unwrap();
        in_order(said["content"][0]["text"].as_str().unwrap(), round);
        world.remembered(&session);
    }
    let mut shown = Vec::new();
    for session in &sessions {
        let turn = session.turn("@say fine").await;
        assert_eq!(turn.stop_reason(), "end_turn", "{:?}", turn.errors());
        world.remembered(session);
        shown.push(session.show().await["usage"].clone());
    }
    world.stop().await;
    for (session, shown) in sessions.iter().zip(&shown) {
        paid(&world, session, shown).await;
    }
    world.restart().await;
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

/// Every call that came to its end is in the books once, with what the model counted. What else the
/// model was asked is there too, as a call that was cut, left or not settled.
async fn paid(world: &World, session: &Session, shown: &Value) {
    let marks = session.marks();
    let mut asked: Vec<u64> = world
        .asked()
        .iter()
        .filter(|request| {
            let body = String::from_utf8_lossy(&request.body);
            marks.iter().any(|mark| body.contains(mark))
        })
        .map(|request| (request.body.len() as u64).div_ceil(BYTES_PER_TOKEN))
        .collect();
    let store = Store::open(&world.data).unwrap();
    let calls = store.usage().calls(&session.id).await.unwrap();
    let mut broken = 0;
    for call in &calls {
        if call.error.is_some() {
            broken += 1;
            continue;
        }
        let at = asked.iter().position(|asked| *asked == input(call));
        let at =
            at.unwrap_or_else(|| panic!("{call:?} was never made, or is there twice: {asked:?}"));
        asked.swap_remove(at);
    }
    assert!(
        asked.len() <= broken,
        "{asked:?} are in no book: {calls:#?}"
    );
    let cache = &shown["cache_creation"];
    let shown = [
        &shown["input_tokens"],
        &shown["cache_read_input_tokens"],
        &cache["ephemeral_5m_input_tokens"],
        &cache["ephemeral_1h_input_tokens"],
    ];
    let shown: u64 = shown.iter().filter_map(|count| count.as_u64()).sum();
    assert_eq!(calls.iter().map(input).sum::<u64>(), shown, "{calls:#?}");
}

/// All that the model read for a call.
fn input(call: &ModelCall) -> u64 {
    let cached = call.cache_read_tokens + call.cache_creation_5m_tokens;
    call.input_tokens + cached + call.cache_creation_1h_tokens
}
