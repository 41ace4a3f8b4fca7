//! Page cursors: base64url of a small JSON object that names its list and order, so that a cursor of
//! another list or order is recognised. Opaque to everyone else. Carries no rights: every query
//! names its workspace or session itself.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::page::Order;

/// A cursor that cannot be used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Not a cursor that this store has made.
    #[error("the page cursor is malformed")]
    Malformed,
    /// A cursor of another list.
    #[error("the page cursor belongs to another list")]
    OtherList,
    /// A cursor of this list in the other order.
    #[error("the page cursor was made for another order")]
    OtherOrder,
}

/// The lists that have cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum List {
    Agents,
    AgentVersions,
    Environments,
    Sessions,
    Events,
    Files,
    Workspaces,
    Keys,
    Audit,
    Vaults,
    Credentials,
    KeptSessions,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<K> {
    list: List,
    order: Order,
    key: K,
}

/// Longer than any cursor made here.
const LONGEST: usize = 512;

pub(crate) fn encode<K: Serialize>(list: List, order: Order, key: K) -> String {
    let json = serde_json::to_vec(&Envelope { list, order, key })
        .expect("a struct of numbers and plain enums is always JSON");
    URL_SAFE_NO_PAD.encode(json)
}

pub(crate) fn decode<K: DeserializeOwned>(
    text: &str,
    list: List,
    order: Order,
) -> Result<K, CursorError> {
    if text.len() > LONGEST {
        return Err(CursorError::Malformed);
    }
    let json = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| CursorError::Malformed)?;
    let envelope: Envelope<Box<RawValue>> =
        serde_json::from_slice(&json).map_err(|_| CursorError::Malformed)?;
    if envelope.list != list {
        return Err(CursorError::OtherList);
    }
    if envelope.order != order {
        return Err(CursorError::OtherOrder);
    }
    serde_json::from_str(envelope.key.get()).map_err(|_| CursorError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_works_only_for_its_list_and_order() {
        let text = encode(List::Agents, Order::Desc, (7, 8));
        assert_eq!(decode(&text, List::Agents, Order::Desc), Ok((7, 8)));
        assert_eq!(
            decode::<(i64, i64)>(&text, List::Sessions, Order::Desc),
            Err(CursorError::OtherList)
        );
        assert_eq!(
            decode::<(i64, i64)>(&text, List::Agents, Order::Asc),
            Err(CursorError::OtherOrder)
        );
    }

    #[test]
    fn nonsense_is_malformed() {
        let wrong_key = encode(List::Agents, Order::Desc, "x");
        for text in [
            "",
            "%",
            "e30",
            &text_of("[]"),
            &wrong_key,
            &"A".repeat(4096),
        ] {
            let result = decode::<(i64, i64)>(text, List::Agents, Order::Desc);
            assert_eq!(result, Err(CursorError::Malformed), "{text}");
        }
    }

    fn text_of(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }
}
