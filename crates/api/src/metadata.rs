//! Metadata: a client's own small map of strings.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Read, expected, quoted};

/// The stored map.
pub type Metadata = BTreeMap<String, String>;

/// A whole map, as a create request holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMetadata(pub Metadata);

/// Changes to a map: a string sets a key, null deletes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataPatch(pub BTreeMap<String, Option<String>>);

impl Read for NewMetadata {
    fn read(value: Value, at: At<'_>) -> Result<NewMetadata, Invalid> {
        let mut metadata = Metadata::new();
        for (key, value) in Map::read(value, at)? {
            let Value::String(text) = value else {
                return Err(refusal(at, &key, &expected("a string", &value)));
            };
            check_pair(&key, &text, at)?;
            metadata.insert(key, text);
        }
        check_size(&metadata, at)?;
        Ok(NewMetadata(metadata))
    }
}

impl Read for MetadataPatch {
    fn read(value: Value, at: At<'_>) -> Result<MetadataPatch, Invalid> {
        let mut patch = BTreeMap::new();
        for (key, value) in Map::read(value, at)? {
            let change = match value {
                Value::Null => None,
                Value::String(text) => Some(text),
                other => return Err(refusal(at, &key, &expected("a string or null", &other))),
            };
            check_pair(&key, change.as_deref().unwrap_or(""), at)?;
            patch.insert(key, change);
        }
        Ok(MetadataPatch(patch))
    }
}

impl MetadataPatch {
    /// Reads an empty string as null, as environments do.
    #[must_use]
    pub fn with_empty_as_null(self) -> MetadataPatch {
        let entries = self
            .0
            .into_iter()
            .map(|(key, value)| (key, value.filter(|value| !value.is_empty())));
        MetadataPatch(entries.collect())
    }

    /// Changes `stored` key by key.
    ///
    /// # Errors
    /// When the result holds too many pairs.
    pub fn apply(self, stored: &mut Metadata) -> Result<(), Invalid> {
        for (key, value) in self.0 {
            match value {
                Some(value) => stored.insert(key, value),
                None => stored.remove(&key),
            };
        }
        check_size(stored, At::root().key("metadata"))
    }
}

fn check_size(metadata: &Metadata, at: At<'_>) -> Result<(), Invalid> {
    limits::items(metadata.len(), limits::METADATA_PAIRS, at).map_err(coded)
}

fn check_pair(key: &str, value: &str, at: At<'_>) -> Result<(), Invalid> {
    let length = key.chars().count();
    if !(1..=limits::METADATA_KEY).contains(&length) {
        let rule = format!(
            "a key has 1 to {} characters, {} has {length}",
            limits::METADATA_KEY,
            quoted(key)
        );
        return Err(coded(at.invalid(rule)));
    }
    limits::text(value, 0, limits::METADATA_VALUE, at.key(key)).map_err(coded)
}

fn refusal(at: At<'_>, key: &str, what: &str) -> Invalid {
    let shown: String = key.chars().take(limits::METADATA_KEY).collect();
    coded(at.key(&shown).invalid(what))
}

fn coded(invalid: Invalid) -> Invalid {
    invalid.with_code("invalid_metadata")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<NewMetadata, Invalid> {
        NewMetadata::read(value, At::root().key("metadata"))
    }

    #[test]
    fn limits_name_field_limit_and_what_was_given() {
        let many: Map<String, Value> = (0..17).map(|n| (format!("k{n}"), json!("v"))).collect();
        let rows = [
            (Value::Object(many), "metadata: at most 16 items, got 17"),
            (
                json!({"k": "v".repeat(513)}),
                "metadata.k: at most 512 characters, got 513",
            ),
            (
                json!({"": "v"}),
                "metadata: a key has 1 to 64 characters, \"\" has 0",
            ),
            (
                json!({"k": 5}),
                "metadata.k: must be a string, got the number 5",
            ),
        ];
        for (value, message) in rows {
            let error = read(value).unwrap_err();
            assert_eq!(
                (error.message.as_str(), error.code),
                (message, Some("invalid_metadata"))
            );
        }
        assert!(read(json!({"k": "ü".repeat(512)})).is_ok());
    }

    #[test]
    fn a_patch_sets_deletes_and_keeps() {
        let mut stored = read(json!({"keep": "1", "set": "1", "drop": "1"}))
            .unwrap()
            .0;
        let patch =
            MetadataPatch::read(json!({"set": "2", "drop": null, "new": ""}), At::root()).unwrap();
        patch.clone().apply(&mut stored).unwrap();
        assert_eq!(
            serde_json::to_value(&stored).unwrap(),
            json!({"keep": "1", "new": "", "set": "2"})
        );
        patch.with_empty_as_null().apply(&mut stored).unwrap();
        assert_eq!(
            serde_json::to_value(&stored).unwrap(),
            json!({"keep": "1", "set": "2"})
        );
    }
}
