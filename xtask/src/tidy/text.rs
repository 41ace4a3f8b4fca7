//! Rules about files as text: every module says what it is, names say what is inside, and
//! nothing is left for later.

use super::{Finding, Tree};

/// Marks of unfinished work. Spelt in halves, so that this file does not break its own rule.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Names of drawers: a file so called says nothing about what is inside.
const DRAWERS: [&str; 8] = [
    "mod", "util", "utils", "common", "misc", "helpers", "manager", "types",
];

/// Every source begins with its head and is named after what it holds.
pub fn heads(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.sources {
        findings.extend(head_of(&file.path, &file.text));
    }
    findings
}

/// Nothing unfinished in any text of ours.
pub fn words(tree: &Tree) -> Vec<Finding> {
    let sources = tree.sources.iter().map(|file| (&file.path, &file.text));
    let texts = tree.texts.iter().map(|(path, text)| (path, text));
    sources
        .chain(texts)
        .flat_map(|(path, text)| words_of(path, text))
        .collect()
}

fn head_of(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let stem = path
        .rsplit('/')
        .next()
        .unwrap_or(path)
        .trim_end_matches(".rs");
    if DRAWERS.contains(&stem) {
        findings.push(Finding::file(
            path,
            "a file is named after what is inside it",
        ));
    }
    // The tests of one module say by their place what they are about.
    if stem != "tests" && !text.trim_start().starts_with("//!") {
        findings.push(Finding::line(
            path,
            1,
            "a module begins with `//!`: what it is, what it never does",
        ));
    }
    findings
}

fn words_of(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in UNFINISHED.iter().filter(|word| line.contains(*word)) {
            findings.push(Finding::line(
                path,
                index + 1,
                format!("`{word}`: finish it or leave it out"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_head_and_drawer_are_found() {
        assert_eq!(head_of("crates/x/src/utils.rs", "use std::fs;\n").len(), 2);
        assert_eq!(head_of("crates/x/src/door.rs", "//! A door.\n").len(), 0);
        assert_eq!(
            head_of("crates/x/src/door/tests.rs", "use super::*;\n").len(),
            0
        );
    }

    #[test]
    fn unfinished_work_is_found_with_its_line() {
        let text = format!("fine\n// {}: later\n", UNFINISHED[0]);
        assert_eq!(
            words_of("a.rs", &text)
                .iter()
                .map(|f| f.line)
                .collect::<Vec<_>>(),
            [Some(2)]
        );
    }
}
