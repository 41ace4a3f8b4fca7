//! Transcripts that Agent SDK programs keep here through the SDK's session store, an extension of the
//! public contract. Entries and the data of a summary are the SDK's own and are not looked into, but for
//! an entry's `uuid`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Fields, Read, expected};

/// Entries in one request; the SDK sends at most 500 at once.
pub const ENTRIES: usize = 10_000;
/// Characters in a project key, a session id, a subpath and an entry's uuid.
pub const KEY: usize = 512;

/// Entries for one file of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct AppendEntries {
    /// The file beside the main one; `None` is the main one.
    pub subpath: Option<String>,
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// The session's summary with these entries in it.
    pub summary: Option<NewSummary>,
}

/// One entry, as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry(pub Map<String, Value>);

impl Entry {
    /// The entry's own id.
    #[must_use]
    pub fn uuid(&self) -> Option<&str> {
        self.0.get("uuid").and_then(Value::as_str)
    }

    /// The entry as JSON text.
    #[must_use]
    pub fn into_json(self) -> String {
        Value::Object(self.0).to_string()
    }
}

/// A summary that shall replace the one that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSummary {
    /// The revision that it was made from; 0 when there was none.
    pub revision: i64,
    /// The SDK's own.
    pub data: Map<String, Value>,
}

/// A session in the list of a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptSession {
    /// Its id.
    pub session_id: String,
    /// When its main transcript last changed, in milliseconds since 1970.
    pub mtime: i64,
    /// Its summary; null when none was ever sent.
    pub summary: Option<Summary>,
}

/// A summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How often it was replaced.
    pub revision: i64,
    /// The SDK's own.
    pub data: Value,
}

/// What an append answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Appended {
    /// When the main transcript last changed, in milliseconds since 1970.
    pub mtime: i64,
    /// The revision of the summary; 0 when there is none.
    pub revision: i64,
}

/// Checks a project key, a session id or a subpath.
///
/// # Errors
/// When it is empty, too long, or holds control characters.
pub fn key(text: &str, at: At<'_>) -> Result<(), Invalid> {
    limits::text(text, 1, KEY, at)?;
    match text.chars().any(char::is_control) {
        true => Err(at.invalid("cannot hold control characters")),
        false => Ok(()),
    }
}

/// Checks the path of a file beside the main one: it becomes a path when a session is resumed.
///
/// # Errors
/// As [`key`], and when it is absolute or leads elsewhere.
pub fn subpath(text: &str, at: At<'_>) -> Result<(), Invalid> {
    key(text, at)?;
    let strays = |part: &str| part.is_empty() || part == "." || part == "..";
    match text.split(['/', '\\']).any(strays) {
        true => Err(at.invalid("must be a relative path without empty parts, `.` and `..`")),
        false => Ok(()),
    }
}

impl Read for AppendEntries {
    fn read(value: Value, at: At<'_>) -> Result<AppendEntries, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let subpath: Option<String> = fields.optional("subpath")?;
        if let Some(path) = &subpath {
            self::subpath(path, at.key("subpath"))?;
        }
        let entries: Vec<Entry> = fields.required("entries")?;
        limits::items(entries.len(), ENTRIES, at.key("entries"))?;
        let summary: Option<NewSummary> = fields.optional("summary")?;
        if summary.is_some() && subpath.is_some() {
            let place = at.key("summary");
            return Err(place.invalid("a file with a subpath is no part of the summary"));
        }
        fields.finish()?;
        Ok(AppendEntries {
            subpath,
            entries,
            summary,
        })
    }
}

impl Read for Entry {
    fn read(value: Value, at: At<'_>) -> Result<Entry, Invalid> {
        let entry = Entry(object(value, at)?);
        match entry.0.get("uuid") {
            None | Some(Value::Null) => {}
            Some(Value::String(uuid)) => limits::text(uuid, 1, KEY, at.key("uuid"))?,
            Some(other) => return Err(at.key("uuid").invalid(expected("a string", other))),
        }
        Ok(entry)
    }
}

impl Read for NewSummary {
    fn read(value: Value, at: At<'_>) -> Result<NewSummary, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let revision: Number = fields.required("revision")?;
        let Object(data) = fields.required("data")?;
        fields.finish()?;
        Ok(NewSummary {
            revision: revision.0,
            data,
        })
    }
}

struct Object(Map<String, Value>);

impl Read for Object {
    fn read(value: Value, at: At<'_>) -> Result<Object, Invalid> {
        object(value, at).map(Object)
    }
}

struct Number(i64);

impl Read for Number {
    fn read(value: Value, at: At<'_>) -> Result<Number, Invalid> {
        match value.as_i64() {
            Some(number) if number >= 0 => Ok(Number(number)),
            _ => Err(at.invalid(expected("a whole number from 0", &value))),
        }
    }
}

fn object(value: Value, at: At<'_>) -> Result<Map<String, Value>, Invalid> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(at.invalid(expected("an object", &other))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<AppendEntries, String> {
        AppendEntries::read(value, At::root()).map_err(|error| error.to_string())
    }

    #[test]
    fn entries_are_taken_as_they_come() {
        let entry = json!({"type": "user", "uuid": "u1", "deep": {"list": [1, null, 0.5]}});
        let append = read(json!({"entries": [entry, {"type": "tag"}]})).unwrap();
        assert_eq!(append.entries[0].uuid(), Some("u1"));
        assert_eq!(append.entries[1].uuid(), None);
        let text = append.entries[0].clone().into_json();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), entry);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let cases = [
            (json!({}), "entries"),
            (json!({"entries": [1]}), "entries.0"),
            (json!({"entries": [{"uuid": 1}]}), "entries.0.uuid"),
            (json!({"entries": [], "subpath": "../x"}), "subpath"),
            (json!({"entries": [], "subpath": "/etc"}), "subpath"),
            (json!({"entries": [], "subpath": "a//b"}), "subpath"),
            (json!({"entries": [], "subpath": "a\u{0}"}), "subpath"),
            (
                json!({"entries": [], "summary": {"data": {}}}),
                "summary.revision",
            ),
            (
                json!({"entries": [], "summary": {"revision": -1, "data": {}}}),
                "summary.revision",
            ),
            (
                json!({"entries": [], "subpath": "a", "summary": {"revision": 0, "data": {}}}),
                "summary",
            ),
            (json!({"entries": [], "more": 1}), "more"),
        ];
        for (body, place) in cases {
            let refusal = read(body.clone()).unwrap_err();
            assert!(refusal.contains(place), "{body}: {refusal}");
        }
    }
}
