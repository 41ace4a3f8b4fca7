//! Any bytes as the body of a request.

use std::fmt::Debug;

use api::agent::{CreateAgent, UpdateAgent};
use api::api_key::{CreateApiKey, RotateApiKey};
use api::client_event::SendEvents;
use api::environment::{CreateEnvironment, UpdateEnvironment};
use api::read::{Read, body};
use api::session::{CreateSession, ForkSession, UpdateSession};
use api::time::Timestamp;
use api::workspace::{CreateWorkspace, UpdateWorkspace};

/// Characters of a refusal: it names a place and what is known there, and repeats little.
const REFUSAL_MAX: usize = 2000;

#[test]
fn any_body_is_read_or_refused_in_a_bounded_sentence() {
    fuzz::target!("body", 20_000, |data| {
        // The first byte chooses the reader, so that inputs of one kind stay together.
        let Some((kind, data)) = data.split_first() else {
            return;
        };
        match kind % 13 {
            0 => agent(data),
            1 => environment(data),
            2 => drop(read::<CreateSession>(data)),
            3 => drop(read::<SendEvents>(data)),
            4 => agent_change(data),
            5 => environment_change(data),
            6 => drop(read::<UpdateSession>(data)),
            7 => drop(read::<ForkSession>(data)),
            8 => drop(read::<CreateApiKey>(data)),
            9 => drop(read::<RotateApiKey>(data)),
            10 => drop(read::<CreateWorkspace>(data)),
            11 => drop(read::<UpdateWorkspace>(data)),
            _ => timestamp(data),
        }
    });
}

fn read<T: Read + Debug>(data: &[u8]) -> Option<T> {
    match body::<T>(data) {
        Ok(read) => Some(read),
        Err(refusal) => {
            let text = refusal.to_string();
            assert!(text.chars().count() <= REFUSAL_MAX, "{text}");
            assert!(!text.contains(char::is_control), "{text:?}");
            None
        }
    }
}

/// What is shown can be sent again, and is the same then.
fn agent(data: &[u8]) {
    let Some(agent) = read::<CreateAgent>(data) else {
        return;
    };
    let shown = serde_json::to_vec(&agent.definition).expect("a definition is JSON");
    let again: CreateAgent = body(&shown).expect("what is shown can be sent");
    assert_eq!(again, agent);
    let stored = serde_json::from_slice(&shown).expect("what is stored can be read");
    assert_eq!(agent.definition, stored);
}

fn environment(data: &[u8]) {
    let Some(environment) = read::<CreateEnvironment>(data) else {
        return;
    };
    let shown = serde_json::to_vec(&environment.definition).expect("a definition is JSON");
    let again: CreateEnvironment = body(&shown).expect("what is shown can be sent");
    assert_eq!(again, environment);
    let stored = serde_json::from_slice(&shown).expect("what is stored can be read");
    assert_eq!(environment.definition, stored);
}

/// A change keeps every rule that a new one has to keep.
fn agent_change(data: &[u8]) {
    let stored: CreateAgent = body(include_bytes!("corpus/agent.json")).expect("it is one");
    let Some(change) = read::<UpdateAgent>(data) else {
        return;
    };
    if let Ok(changed) = change.apply(&stored.definition) {
        let shown = serde_json::to_vec(&changed).expect("a definition is JSON");
        let again: CreateAgent = body(&shown).expect("a changed agent is one");
        assert_eq!(again.definition, changed);
    }
}

fn environment_change(data: &[u8]) {
    let stored: CreateEnvironment =
        body(include_bytes!("corpus/environment.json")).expect("it is one");
    let Some(change) = read::<UpdateEnvironment>(data) else {
        return;
    };
    if let Ok(changed) = change.apply(&stored.definition) {
        let shown = serde_json::to_vec(&changed).expect("a definition is JSON");
        let again: CreateEnvironment = body(&shown).expect("a changed environment is one");
        assert_eq!(again.definition, changed);
    }
}

fn timestamp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(time) = Timestamp::parse(text, "created_at[gt]") {
        let shown = serde_json::to_value(time).expect("a time is JSON");
        let shown = shown.as_str().expect("a time is a string");
        let again = Timestamp::parse(shown, "x").expect("what is shown can be sent");
        assert_eq!(serde_json::to_value(again).expect("a time is JSON"), shown);
    }
}
