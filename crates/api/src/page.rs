//! The shapes of lists, and of what a delete answers.

use serde::{Deserialize, Serialize};

/// A page that is followed forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub data: Vec<T>,
    /// What to send as `page` for the next ones; null at the end.
    pub next_page: Option<String>,
}

/// A page that is followed both ways (sessions only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BidirectionalPage<T> {
    /// The items, in the list's order.
    pub data: Vec<T>,
    /// What to send as `page` for the next ones; null at the end.
    pub next_page: Option<String>,
    /// What to send as `page` for the ones before; null at the beginning.
    pub prev_page: Option<String>,
}

/// A page that is followed by ids (models only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdPage<T> {
    /// The items, in the list's order.
    pub data: Vec<T>,
    /// Whether more follow in the direction of paging.
    pub has_more: bool,
    /// The id of the first item.
    pub first_id: Option<String>,
    /// The id of the last item.
    pub last_id: Option<String>,
}

/// What a delete answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// What was deleted.
    pub id: String,
    /// `session_deleted`, `environment_deleted`, …
    #[serde(rename = "type")]
    pub kind: String,
}
