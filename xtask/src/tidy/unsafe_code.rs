//! Where unsafe code may stand. The workspace denies it; a file that needs it is named here, so
//! that a new one is seen in review, and each of its blocks carries a safety proof.

use super::{Finding, Source, Tree};
use crate::source;

/// The files that may, each with what safe code cannot do there.
const ALLOWED: [(&str, &str); 3] = [
    (
        "crates/fuzz/src/coverage.rs",
        "calls of libFuzzer, in builds of their own",
    ),
    (
        "crates/guest/src/sys.rs",
        "system calls between fork and exec",
    ),
    (
        "crates/sandbox/src/oci/sys.rs",
        "system calls of the short-lived helper process",
    ),
];

/// How many lines above a block its proof may begin.
const PROOF_REACH: usize = 8;

/// Whether unsafe code stands only in the named files, and is proven there.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.sources.iter().flat_map(check_one).collect()
}

fn check_one(file: &Source) -> Vec<Finding> {
    let allowed = ALLOWED.iter().any(|(path, _)| *path == file.path);
    let lines: Vec<&str> = file.text.lines().collect();
    let mut findings = Vec::new();
    for line in source::lines_naming(&file.code, "unsafe") {
        if !allowed {
            findings.push(Finding::line(
                &file.path,
                line,
                "unsafe code in a file that xtask/src/tidy/unsafe_code.rs does not name",
            ));
            continue;
        }
        let above = &lines[line.saturating_sub(PROOF_REACH)..line];
        if !above
            .iter()
            .any(|text| text.contains("SAFETY:") || text.contains("# Safety"))
        {
            findings.push(Finding::line(
                &file.path,
                line,
                "unsafe code without its SAFETY proof above",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::source_of;
    use super::*;

    #[test]
    fn unnamed_file_and_missing_proof_are_found() {
        let text = "fn f() { unsafe { g() } }\n";
        assert_eq!(
            check_one(&source_of("crates/server/src/app.rs", text)).len(),
            1
        );
        assert_eq!(
            check_one(&source_of("crates/guest/src/sys.rs", text)).len(),
            1
        );
        let proven = format!("// SAFETY: g has no preconditions.\n{text}");
        assert_eq!(
            check_one(&source_of("crates/guest/src/sys.rs", &proven)).len(),
            0
        );
    }

    #[test]
    fn lint_name_is_not_unsafe_code() {
        assert_eq!(
            check_one(&source_of(
                "crates/api/src/lib.rs",
                "#![forbid(unsafe_code)]\n"
            ))
            .len(),
            0
        );
    }
}
