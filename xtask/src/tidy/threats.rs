//! Every claim of docs/THREATS.md names the test that fails when it stops being true: so each name that
//! stands there must be a test's, or the beginning of one where it ends with `…`.

use std::collections::BTreeSet;

use super::{Finding, Tree};

/// Where the claims stand.
const CLAIMS: &str = "docs/THREATS.md";

/// Words of a test's name, at least; names of settings and fields have fewer.
const WORDS: usize = 3;

/// Whether every named test exists.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let tests: BTreeSet<&str> = (tree.sources.iter())
        .flat_map(|file| functions(&file.text, "fn "))
        .chain((tree.texts.iter()).flat_map(|(_, text)| functions(text, "def ")))
        .collect();
    let claims = tree.texts.iter().filter(|(path, _)| path == CLAIMS);
    claims
        .flat_map(|(path, text)| missing(path, text, &tests))
        .collect()
}

/// The names of functions that begin on a line of their own.
fn functions<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let line = line.trim_start().trim_start_matches("async ");
        let name = line.strip_prefix(word)?;
        name.split_once('(').map(|(name, _)| name)
    })
}

fn missing(path: &str, text: &str, tests: &BTreeSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // What stands between two backticks is every second piece.
        for name in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| is_claim(name))
        {
            let there = match name.strip_suffix('…') {
                Some(beginning) => tests.iter().any(|test| test.starts_with(beginning)),
                None => tests.contains(name),
            };
            if !there {
                let rule = format!("`{name}` is no test");
                findings.push(Finding::line(path, index + 1, rule));
            }
        }
    }
    findings
}

fn is_claim(name: &str) -> bool {
    let plain = name.trim_end_matches('…');
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    plain.bytes().all(word) && plain.split('_').count() >= WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_test_is_found_with_its_line() {
        let source = "#[tokio::test]\nasync fn doors_are_shut_at_night() {}\n    fn windows_are_shut_at_noon() {}\n";
        let tests = functions(source, "fn ").collect();
        let text = "| doors | `doors_are_shut_at_night` |\n| all | `doors_are_shut_…`, `windows_are_shut_at_noon`, `bytes_out`, `x/y.rs` |\n\
                    | gates | `gates_are_shut`, `gates_are_…` |\n";
        let found = missing(CLAIMS, text, &tests);
        assert_eq!(
            found.iter().map(|found| found.line).collect::<Vec<_>>(),
            [Some(3), Some(3)]
        );
    }
}
