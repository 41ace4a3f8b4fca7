//! The conversation's memory: from mirror frames to records, and back to files for a resume.
//!
//! The CLI appends to one file for the conversation and one for each subagent; a [`Mirror`] frame
//! names the file and repeats the entries. Entries are kept byte for byte in order, under a
//! subpath: empty for the conversation, `subagents/agent-X` for a subagent. A resume needs the
//! same files again below a fresh configuration directory; [`restore`] says which. This module
//! touches no file system.
//!
//! A frame may come twice after a fault on the way, so entries are told apart by [`entry_uuid`].
//! A few kinds of entries have none (`queue-operation`, `last-prompt`, `cost-state`); repeating
//! those is harmless. Entries of an attempt that was dropped stay as a dead branch, which the CLI
//! ignores because each entry names its parent.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::frame::Mirror;
use crate::launch::environment::PROJECT;

/// Where the entries of a mirror frame belong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The session's uuid. Changes when the conversation is cleared.
    pub session: String,
    /// Empty for the conversation, `subagents/agent-X` for a subagent.
    pub subpath: String,
}

/// A path that the CLI's transcripts cannot have.
#[derive(Debug, thiserror::Error)]
#[error("not a transcript's path: {path:?}")]
pub struct BadPath {
    /// The path.
    pub path: String,
}

/// A file to place before a resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Relative to the configuration directory. Mode 0600.
    pub path: String,
    /// The content.
    pub content: Vec<u8>,
}

/// Finds out where the entries of a frame belong.
///
/// The path is `…/projects/<project>/<session>.jsonl` or
/// `…/projects/<project>/<session>/<subpath>.jsonl`; what stands before the last `projects` and
/// the project's name do not matter.
pub fn key(mirror: &Mirror) -> Result<Key, BadPath> {
    let bad = || BadPath {
        path: mirror.file_path.clone(),
    };
    let path = mirror.file_path.strip_suffix(".jsonl").ok_or_else(bad)?;
    let parts: Vec<&str> = path.split('/').collect();
    let projects = parts
        .iter()
        .rposition(|part| *part == "projects")
        .ok_or_else(bad)?;
    let [_, session, subpath @ ..] = &parts[projects + 1..] else {
        return Err(bad());
    };
    if [session]
        .into_iter()
        .chain(subpath)
        .any(|part| !plain(part))
    {
        return Err(bad());
    }
    Ok(Key {
        session: (*session).to_owned(),
        subpath: subpath.join("/"),
    })
}

/// An entry's id, if it has one.
pub fn entry_uuid(entry: &RawValue) -> Option<String> {
    serde_json::from_str::<Entry>(entry.get()).ok()?.uuid
}

/// Whether the CLI can resume from these entries of a conversation. It finds none in a transcript
/// without a prompt or an answer, such as one cut right after its first `queue-operation`.
pub fn resumable<'a>(entries: impl IntoIterator<Item = &'a RawValue>) -> bool {
    entries.into_iter().any(|entry| {
        serde_json::from_str::<Entry>(entry.get())
            .is_ok_and(|entry| matches!(entry.kind.as_deref(), Some("user" | "assistant")))
    })
}

/// The files of one transcript, so that the CLI can resume it. `entries` are all of one key, in
/// order. A subagent's `agent_metadata` entries do not go back into its transcript: the last one
/// becomes a file beside it.
pub fn restore<'a>(
    key: &Key,
    entries: impl IntoIterator<Item = &'a RawValue>,
) -> Result<Vec<File>, BadPath> {
    let stem = stem(key)?;
    let mut content = Vec::new();
    let mut metadata = None;
    for entry in entries {
        if is_metadata(entry) {
            metadata = Some(entry);
        } else {
            push_line(&mut content, entry.get());
        }
    }
    let mut files = vec![File {
        path: format!("{stem}.jsonl"),
        content,
    }];
    if let Some(metadata) = metadata {
        files.push(File {
            path: format!("{stem}.meta.json"),
            content: without_type(metadata),
        });
    }
    Ok(files)
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    uuid: Option<String>,
}

/// The path without its ending, refusing whatever could lead out of the directory.
fn stem(key: &Key) -> Result<String, BadPath> {
    let path = if key.subpath.is_empty() {
        key.session.clone()
    } else {
        format!("{}/{}", key.session, key.subpath)
    };
    if !path.split('/').all(plain) {
        return Err(BadPath { path });
    }
    Ok(format!("projects/{PROJECT}/{path}"))
}

/// A name that is one step downwards.
fn plain(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', '\n'])
}

fn is_metadata(entry: &RawValue) -> bool {
    entry.get().contains("agent_metadata")
        && serde_json::from_str::<Entry>(entry.get())
            .is_ok_and(|entry| entry.kind.as_deref() == Some("agent_metadata"))
}

/// A subagent's own file holds the record without the mark that it had as an entry.
fn without_type(entry: &RawValue) -> Vec<u8> {
    let mut record: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(entry.get()).unwrap_or_default();
    record.remove("type");
    serde_json::to_vec(&record).expect("a map that was read from json is json")
}

/// One entry is one line; raw JSON may only hold newlines between its tokens.
fn push_line(content: &mut Vec<u8>, entry: &str) {
    content.extend(entry.bytes().map(|byte| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            byte
        }
    }));
    content.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn key_of(path: &str) -> Result<Key, BadPath> {
        key(&Mirror {
            file_path: path.to_owned(),
            entries: Vec::new(),
        })
    }

    #[test]
    fn the_key_is_the_session_and_what_lies_below_it() {
        let main = key_of("/home/agent/projects/.claude/projects/session/s1.jsonl").unwrap();
        assert_eq!((main.session.as_str(), main.subpath.as_str()), ("s1", ""));
        let sub = key_of("/c/projects/session/s1/subagents/agent-a.jsonl").unwrap();
        assert_eq!(
            (sub.session.as_str(), sub.subpath.as_str()),
            ("s1", "subagents/agent-a")
        );
    }

    #[test]
    fn strange_paths_are_refused() {
        for path in [
            "",
            "/c/projects/s1.jsonl",
            "/c/projects/p/s1",
            "/c/projects/p/../x.jsonl",
            "/c/projects/p//x.jsonl",
        ] {
            assert!(key_of(path).is_err(), "{path}");
        }
        for (session, subpath) in [
            ("..", ""),
            ("", "a"),
            ("s", "../x"),
            ("s", "/etc/x"),
            ("/s", ""),
            ("s", "a//b"),
        ] {
            let key = Key {
                session: session.into(),
                subpath: subpath.into(),
            };
            assert!(restore(&key, []).is_err(), "{session} {subpath}");
        }
    }

    #[test]
    fn entries_come_back_line_by_line_and_metadata_beside_them() {
        let entries = [
            raw("{\"type\":\"user\",\n\"uuid\":\"u1\"}"),
            raw(r#"{"type":"agent_metadata","agentType":"old"}"#),
            raw(r#"{"type":"agent_metadata","agentType":"new"}"#),
            raw(r#"{"type":"assistant","text":"agent_metadata"}"#),
        ];
        let key = Key {
            session: "s1".into(),
            subpath: "subagents/agent-a".into(),
        };
        let files = restore(&key, entries.iter().map(AsRef::as_ref)).unwrap();
        assert_eq!(files[0].path, "projects/session/s1/subagents/agent-a.jsonl");
        assert_eq!(
            String::from_utf8(files[0].content.clone()).unwrap(),
            "{\"type\":\"user\", \"uuid\":\"u1\"}\n{\"type\":\"assistant\",\"text\":\"agent_metadata\"}\n"
        );
        assert_eq!(
            files[1].path,
            "projects/session/s1/subagents/agent-a.meta.json"
        );
        assert_eq!(files[1].content, br#"{"agentType":"new"}"#);
    }

    #[test]
    fn a_transcript_without_a_prompt_cannot_be_resumed() {
        let queued = raw(r#"{"type":"queue-operation","content":"\"type\":\"user\""}"#);
        let prompt = raw(r#"{"parentUuid":null,"type":"user","uuid":"u1"}"#);
        assert!(!resumable([]));
        assert!(!resumable([queued.as_ref()]));
        assert!(resumable([queued.as_ref(), prompt.as_ref()]));
    }

    #[test]
    fn an_entry_is_known_by_its_own_uuid_alone() {
        let answer = raw(r#"{"type":"assistant","uuid":"a1","parentUuid":"u1"}"#);
        assert_eq!(entry_uuid(&answer).as_deref(), Some("a1"));
        assert_eq!(entry_uuid(&raw(r#"{"type":"cost-state"}"#)), None);
    }
}
