//! The events of a session: its log, what clients send into it, and its live end.

mod list;
mod send;
mod stream;
mod ws;

pub(super) use list::list;
pub(super) use send::send;
pub(super) use stream::stream;
pub(super) use ws::ws;

use api::read::quoted;

use super::query::Query;
use crate::error::ApiError;
use crate::session::feed::Deltas;

/// More values than any client needs; the contract's own bound.
const DELTAS: usize = 100;

/// Which previews `event_deltas[]` asks for.
fn deltas(query: &mut Query) -> Result<Deltas, ApiError> {
    let names = query.list("event_deltas");
    if names.len() > DELTAS {
        return Err(ApiError::invalid(format!(
            "event_deltas[]: at most {DELTAS} values, got {}",
            names.len()
        )));
    }
    let mut deltas = Deltas::default();
    for name in names {
        match name.as_str() {
            "agent.message" => deltas.message = true,
            "agent.thinking" => deltas.thinking = true,
            other => {
                let known = "`agent.message`, `agent.thinking`";
                return Err(ApiError::invalid(format!(
                    "event_deltas[]: must be one of {known}, got {}",
                    quoted(other)
                )));
            }
        }
    }
    Ok(deltas)
}
