//! Rules inside a crate: what a folder may not name, so that a seam stays a seam although no
//! manifest guards it.

use super::{Finding, Source, Tree};
use crate::source;

/// One seam: the files it is about, what they may not name, and why.
struct Seam {
    files: fn(&str) -> bool,
    never: &'static [&'static str],
    because: &'static str,
}

const SEAMS: [Seam; 3] = [
    Seam {
        files: |path| {
            path == "crates/server/src/session.rs" || path.starts_with("crates/server/src/session/")
        },
        never: &["axum"],
        because: "a session knows nothing of HTTP",
    },
    Seam {
        files: |path| path.starts_with("crates/server/src/http/"),
        never: &["sandbox", "Provider"],
        because: "nothing below http/ calls a provider",
    },
    Seam {
        files: |path| {
            path == "crates/server/src/session/machine.rs"
                || path.starts_with("crates/server/src/session/machine/")
        },
        never: &[
            "async",
            "await",
            "tokio",
            "futures",
            "Instant",
            "SystemTime",
            "Utc",
            "chrono",
            "getrandom",
            "fs",
            "net",
            "env",
            "store",
            "sandbox",
            "egress",
            "tracing",
        ],
        because: "the machine is a pure function: no async, no clock, no I/O",
    },
];

/// Whether every seam holds.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.sources.iter().flat_map(check_one).collect()
}

fn check_one(file: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for seam in SEAMS.iter().filter(|seam| (seam.files)(&file.path)) {
        for name in seam.never {
            for line in source::lines_naming(&file.code, name) {
                findings.push(Finding::line(
                    &file.path,
                    line,
                    format!("names `{name}`: {}", seam.because),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::source_of;
    use super::*;

    #[test]
    fn web_framework_in_a_session_is_found_and_in_a_comment_is_not() {
        let file = source_of(
            "crates/server/src/session/actor.rs",
            "// axum\nuse axum::Router;\n",
        );
        assert_eq!(
            check_one(&file).iter().map(|f| f.line).collect::<Vec<_>>(),
            [Some(2)]
        );
    }

    #[test]
    fn clock_in_the_machine_is_found() {
        let file = source_of(
            "crates/server/src/session/machine.rs",
            "fn now() { Instant::now(); }",
        );
        assert_eq!(check_one(&file).len(), 1);
        assert_eq!(
            check_one(&source_of(
                "crates/server/src/session/actor.rs",
                "fn now() { Instant::now(); }"
            ))
            .len(),
            0
        );
    }
}
