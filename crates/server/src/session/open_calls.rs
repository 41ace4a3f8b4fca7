//! The tool calls that wait for a client's answer, as the API sees them.
//!
//! The machine decides which there are; here an answer is claimed before it is logged, so that of two
//! answers to one call only one is taken.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::tools::Tool;

/// The tool calls of a session that a client may answer, each once.
#[derive(Default)]
pub struct OpenCalls(Mutex<Open>);

#[derive(Default)]
struct Open {
    calls: HashMap<String, bool>,
    /// Answered, but the actor has not seen the answer yet.
    claimed: HashSet<String>,
}

impl OpenCalls {
    /// Takes over what the machine says.
    pub(super) fn set<'a>(&self, calls: impl Iterator<Item = (&'a str, &'a Tool)>) {
        let mut open = self.lock();
        open.calls = calls
            .map(|(id, tool)| (id.to_owned(), matches!(tool, Tool::Custom(_))))
            .collect();
        let Open { calls, claimed } = &mut *open;
        claimed.retain(|id| calls.contains_key(id));
    }

    /// Takes the right to answer a call; `custom` says what kind of answer it is.
    pub(super) fn claim(&self, id: &str, custom: bool) -> Result<(), String> {
        let mut open = self.lock();
        let Open { calls, claimed } = &mut *open;
        match calls.get(id) {
            None => Err(format!(
                "no open tool call has the id `{id}`: it is unknown or has been answered"
            )),
            Some(is_custom) if *is_custom != custom => {
                let right = if *is_custom {
                    "user.custom_tool_result"
                } else {
                    "user.tool_confirmation"
                };
                Err(format!("the tool call `{id}` takes a `{right}`"))
            }
            Some(_) if !claimed.insert(id.to_owned()) => {
                Err(format!("the tool call `{id}` has been answered"))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn give_back(&self, ids: &[String]) {
        let mut open = self.lock();
        for id in ids {
            open.claimed.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_answered_once_and_with_the_right_kind() {
        let open = OpenCalls::default();
        let (bash, custom) = (Tool::BuiltIn("bash".into()), Tool::Custom("c".into()));
        open.set([("e1", &bash), ("e2", &custom)].into_iter());
        assert!(
            open.claim("e9", false)
                .unwrap_err()
                .contains("unknown or has been answered")
        );
        assert!(
            open.claim("e2", false)
                .unwrap_err()
                .contains("user.custom_tool_result")
        );
        open.claim("e1", false).unwrap();
        assert!(
            open.claim("e1", false)
                .unwrap_err()
                .contains("has been answered")
        );
        open.set([("e1", &bash)].into_iter());
        assert!(
            open.claim("e1", false).is_err(),
            "the actor has not seen the answer yet"
        );
        open.give_back(&["e1".into()]);
        open.claim("e1", false).unwrap();
    }
}
