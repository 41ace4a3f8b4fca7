//! The known models, newest first. Where an id carries its date, that is the date shown; the others
//! are approximate and only keep the order of the contract's own list. Lifecycles are not tracked:
//! every entry is active.

use api::model::{Lifecycle, ModelInfo, ModelTag};
use api::time::Timestamp;
use chrono::{TimeZone, Utc};

struct Entry {
    id: &'static str,
    name: &'static str,
    released: (i32, u32, u32),
}

const fn entry(id: &'static str, name: &'static str, released: (i32, u32, u32)) -> Entry {
    Entry { id, name, released }
}

const TABLE: &[Entry] = &[
    entry("claude-fable-5-2", "Claude Fable 5.2", (2026, 11, 1)),
    entry("claude-opus-5-5", "Claude Opus 5.5", (2026, 10, 2)),
    entry("claude-sonnet-5-5", "Claude Sonnet 5.5", (2026, 10, 1)),
    entry("claude-haiku-5-5", "Claude Haiku 5.5", (2026, 9, 15)),
    entry("claude-fable-5-1", "Claude Fable 5.1", (2026, 9, 1)),
    entry("claude-opus-5", "Claude Opus 5", (2026, 7, 2)),
    entry("claude-sonnet-5", "Claude Sonnet 5", (2026, 7, 1)),
    entry("claude-fable-5", "Claude Fable 5", (2026, 6, 1)),
    entry("claude-opus-4-8", "Claude Opus 4.8", (2026, 5, 1)),
    entry("claude-opus-4-7", "Claude Opus 4.7", (2026, 4, 1)),
    entry("claude-sonnet-4-6", "Claude Sonnet 4.6", (2026, 2, 17)),
    entry("claude-opus-4-6", "Claude Opus 4.6", (2026, 2, 5)),
    entry("claude-opus-4-5-20251101", "Claude Opus 4.5", (2025, 11, 1)),
    entry(
        "claude-haiku-4-5-20251001",
        "Claude Haiku 4.5",
        (2025, 10, 1),
    ),
    entry(
        "claude-sonnet-4-5-20250929",
        "Claude Sonnet 4.5",
        (2025, 9, 29),
    ),
];

/// Other names of listed models.
const ALIASES: &[(&str, &str)] = &[
    ("claude-opus-4-5", "claude-opus-4-5-20251101"),
    ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
];

/// Every known model, newest first.
pub(super) fn all() -> impl Iterator<Item = ModelInfo> {
    TABLE.iter().map(view)
}

/// The model with this id or alias.
pub(super) fn find(id: &str) -> Option<ModelInfo> {
    let id = ALIASES
        .iter()
        .find(|(alias, _)| *alias == id)
        .map_or(id, |(_, id)| id);
    TABLE.iter().find(|entry| entry.id == id).map(view)
}

fn view(entry: &Entry) -> ModelInfo {
    let (year, month, day) = entry.released;
    let created_at = Utc
        .with_ymd_and_hms(year, month, day, 0, 0, 0)
        .earliest()
        .unwrap_or_default();
    ModelInfo {
        id: entry.id.to_owned(),
        kind: ModelTag::Value,
        display_name: entry.name.to_owned(),
        created_at: Timestamp(created_at),
        lifecycle: Lifecycle::Active,
        deprecated_at: None,
        retires_at: None,
        line: None,
        max_input_tokens: None,
        max_tokens: None,
        capabilities: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_newest_first_and_aliases_lead_into_it() {
        let dates: Vec<Timestamp> = all().map(|model| model.created_at).collect();
        assert!(dates.is_sorted_by(|a, b| a >= b));
        assert!(
            ALIASES
                .iter()
                .all(|(alias, id)| find(alias).is_some_and(|model| model.id == *id))
        );
    }
}
