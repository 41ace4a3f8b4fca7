//! Following a session: every event of its log once, in order, whatever happens to the
//! connection.
//!
//! A stream carries only what happens after it was opened. So: open the stream, list the log,
//! pass over what is already known, go on with the stream; when it breaks, do the same again.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use super::Client;
use crate::failure::Failure;

/// How often a broken stream is opened again without a single frame between, before giving up.
const ATTEMPTS: u32 = 6;

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More, please.
    Continue,
    /// Enough.
    Stop,
}

/// Hands every event to `each`, from the beginning of the log, until it says stop or the session
/// is over. Deltas are handed over as they come; they have no `id`.
pub async fn follow(
    client: &Client,
    session: &str,
    mut each: impl FnMut(&Value) -> Result<Flow, Failure>,
) -> Result<(), Failure> {
    let mut known = HashSet::new();
    let mut failures = 0;
    loop {
        match once(client, session, &mut known, &mut each).await {
            Ok(Ended::Enough) => return Ok(()),
            Ok(Ended::Closed) => failures = 0,
            Err(Broken::Failure(failure)) => return Err(failure),
            Err(Broken::Connection(failure)) => {
                failures += 1;
                if failures >= ATTEMPTS {
                    return Err(failure);
                }
            }
        }
        // Doubling, from 100 ms to 3.2 s: a restarting server is back within that.
        tokio::time::sleep(Duration::from_millis(100 << failures)).await;
    }
}

enum Ended {
    Enough,
    Closed,
}

enum Broken {
    /// Trying again may help.
    Connection(Failure),
    /// The reader failed, or the server refused.
    Failure(Failure),
}

async fn once(
    client: &Client,
    session: &str,
    known: &mut HashSet<String>,
    each: &mut impl FnMut(&Value) -> Result<Flow, Failure>,
) -> Result<Ended, Broken> {
    // Before the first event is known, a refusal is the answer; afterwards a server that is
    // gone for a moment is waited for.
    let fresh = known.is_empty();
    let broken = |failure| {
        if fresh {
            Broken::Failure(failure)
        } else {
            Broken::Connection(failure)
        }
    };
    let mut stream = client.stream(session).await.map_err(broken)?;
    let mut flow = Flow::Continue;
    let mut refused = None;
    let path = format!("/v1/sessions/{session}/events");
    client
        .list(&path, &[], |event| {
            if flow == Flow::Continue && refused.is_none() && is_new(&event, known) {
                match each(&event) {
                    Ok(next) => flow = next,
                    Err(failure) => refused = Some(failure),
                }
            }
            Ok(())
        })
        .await
        .map_err(broken)?;
    if let Some(failure) = refused {
        return Err(Broken::Failure(failure));
    }
    while flow == Flow::Continue {
        let Some(frame) = stream.next().await.map_err(Broken::Connection)? else {
            return Ok(Ended::Closed);
        };
        let Ok(event) = serde_json::from_str::<Value>(&frame.data) else {
            continue;
        };
        if frame.event == "error" {
            let message = event["error"]["message"]
                .as_str()
                .unwrap_or("no reason given");
            return Err(Broken::Connection(Failure::new(format!(
                "the stream failed: {message}"
            ))));
        }
        if is_new(&event, known) {
            flow = each(&event).map_err(Broken::Failure)?;
        }
    }
    Ok(Ended::Enough)
}

/// Whether this event was not handed over before. A client's event that still waits is listed
/// without a time, and is handed over when it is processed.
fn is_new(event: &Value, known: &mut HashSet<String>) -> bool {
    match event["id"].as_str() {
        Some(_) if event["processed_at"].is_null() => false,
        Some(id) => known.insert(id.to_owned()),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_new_once_and_when_it_is_processed() {
        let mut known = HashSet::new();
        let waiting = json!({"id": "sevt_1", "processed_at": null});
        let done = json!({"id": "sevt_1", "processed_at": "2026-01-01T00:00:00Z"});
        assert!(!is_new(&waiting, &mut known));
        assert!(is_new(&done, &mut known));
        assert!(!is_new(&done, &mut known));
        assert!(is_new(&json!({"type": "event_delta"}), &mut known));
    }
}
