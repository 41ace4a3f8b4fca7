//! Reading Rust sources as the checks need them: the files of a folder, and code without its
//! comments and literals, so that a rule about code is not broken by a sentence about it.
//! It knows tokens, never grammar.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 6] = [
    "target",
    ".git",
    "node_modules",
    ".venv",
    "__pycache__",
    ".pytest_cache",
];

/// Every file below a folder with one of these endings, in a stable order.
pub fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_ref()) {
                waiting.push(path);
            } else if kind.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The code of a source file: comments, strings and characters are blanked, lines stay.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' if !is_word(bytes, at) => raw_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("only whole literals and comments were blanked")
}

/// Whether the identifier stands in this code as a whole word.
pub fn names(code: &str, identifier: &str) -> bool {
    lines_naming(code, identifier).next().is_some()
}

/// The numbers, from 1, of the lines on which the identifier stands as a whole word.
pub fn lines_naming<'a>(code: &'a str, identifier: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.lines().enumerate().filter_map(move |(index, line)| {
        line.match_indices(identifier)
            .any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + identifier.len()..].chars().next();
                !before.is_some_and(word) && !after.is_some_and(word)
            })
            .then_some(index + 1)
    })
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_word(bytes: &[u8], at: usize) -> bool {
    // A byte string `br"…"` has its `b` before the `r`; any other letter means an identifier.
    at > 0
        && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
        && bytes[at - 1] != b'b'
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |n| at + n)
}

fn comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < bytes.len() {
        match bytes.get(i..i + 2) {
            Some(b"/*") => (depth, i) = (depth + 1, i + 2),
            Some(b"*/") => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let body = &bytes[open + 1..];
    let length = body.windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len(), |n| open + 1 + n + close.len()))
}

fn char_end(bytes: &[u8], at: usize) -> usize {
    // A lifetime has no closing quote right after one character, a literal has.
    if bytes.get(at + 1) == Some(&b'\\') {
        let from = at + 3;
        return bytes
            .get(from..)
            .and_then(|rest| rest.iter().position(|byte| *byte == b'\''))
            .map_or(at, |n| from + n + 1);
    }
    let width = bytes.get(at + 1).map_or(1, |byte| match byte {
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    });
    if bytes.get(at + 1 + width) == Some(&b'\'') {
        at + width + 2
    } else {
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text =
            "let a = \"axum \\\" x\"; // axum\n/* axum /* nested */ */ let b = r#\"axum\"#;\n";
        let code = code(text);
        assert!(!code.contains("axum"));
        assert!(code.contains("let a") && code.contains("let b"));
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn lifetimes_and_characters_are_told_apart() {
        let code = code("fn f<'a>(x: &'a str) -> char { if x == y { '\"' } else { 'é' } } // '");
        assert!(code.contains("fn f<'a>(x: &'a str)"));
        assert!(!code.contains('"') && !code.contains('é'));
    }

    #[test]
    fn escaped_quote_does_not_swallow_the_file() {
        assert!(code("let q = '\\''; let axum = 1;").contains("axum"));
    }

    #[test]
    fn only_whole_words_count() {
        assert!(names("use axum::Router;", "axum"));
        assert!(!names("use axum_extra::x; let my_axum = 1;", "axum"));
    }
}
