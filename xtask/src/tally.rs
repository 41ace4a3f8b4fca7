//! Counting what passed, failed and was skipped over all suites, and the one line at the end.

use std::fmt;
use std::ops::AddAssign;

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ran and held.
    pub passed: u64,
    /// Ran and did not hold.
    pub failed: u64,
    /// Did not run here; the reason was printed.
    pub skipped: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

impl Tally {
    /// One check: passed or failed.
    pub fn one(passed: bool) -> Tally {
        Tally {
            passed: passed.into(),
            failed: (!passed).into(),
            skipped: 0,
        }
    }

    /// What pytest's last line says: `=== 2 failed, 3 passed, 1 skipped in 2.3s ===`.
    pub fn of_pytest_line(line: &str) -> Tally {
        let line = line.trim_matches('=').trim();
        if !line.contains(" in ") {
            return Tally::default();
        }
        Tally {
            passed: before(line, " passed") + before(line, " xpassed"),
            failed: before(line, " failed") + before(line, " error"),
            skipped: before(line, " skipped") + before(line, " xfailed"),
        }
    }

    /// What a line of Node's runner says, in either of its forms: `# pass 3`, `ℹ pass 3`.
    pub fn of_node_line(line: &str) -> Tally {
        let mut words = line.split_whitespace();
        let (Some("#" | "ℹ"), Some(what), Some(count), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Tally::default();
        };
        let count = count.parse().unwrap_or(0);
        match what {
            "pass" => Tally {
                passed: count,
                ..Tally::default()
            },
            "fail" | "cancelled" => Tally {
                failed: count,
                ..Tally::default()
            },
            "skipped" | "todo" => Tally {
                skipped: count,
                ..Tally::default()
            },
            _ => Tally::default(),
        }
    }
}

/// Reads the lines of `cargo test -- --show-output`, in their order.
///
/// It prints `test result: ok. 3 passed; 0 failed; 1 ignored; …` per binary. A test of ours that
/// cannot run on this host writes `skipped: <reason>` and passes; what it wrote comes in a section
/// of its own, and is counted once however often it says so.
#[derive(Default)]
pub struct CargoLines {
    counted: bool,
}

impl CargoLines {
    /// What the next line says; most lines say nothing.
    pub fn count(&mut self, line: &str) -> Tally {
        if let Some(rest) = line.strip_prefix("test result: ") {
            return Tally {
                passed: before(rest, " passed"),
                failed: before(rest, " failed"),
                skipped: before(rest, " ignored"),
            };
        }
        if line.starts_with("---- ") {
            self.counted = false;
        }
        let skipped = line.starts_with("skipped: ") && !std::mem::replace(&mut self.counted, true);
        Tally {
            skipped: skipped.into(),
            ..Tally::default()
        }
    }
}

/// The number that stands directly before a word.
fn before(line: &str, word: &str) -> u64 {
    let Some((head, _)) = line.split_once(word) else {
        return 0;
    };
    let digits = head.len() - head.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    head[head.len() - digits..].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn cargo_summaries_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.10s";
        let mut cargo = CargoLines::default();
        let mut count = |line| cargo.count(line);
        assert_eq!(count(line), tally(12, 3, 1));
        assert_eq!(count("test foo ... ok"), tally(0, 0, 0));
        for section in ["---- a stdout ----", "---- b stdout ----"] {
            assert_eq!(count(section), tally(0, 0, 0));
            assert_eq!(count("skipped: no cgroup v2"), tally(0, 0, 1));
            assert_eq!(count("skipped: runsc is not installed"), tally(0, 0, 0));
        }
    }

    #[test]
    fn pytest_summaries_are_read() {
        assert_eq!(
            Tally::of_pytest_line("==== 2 failed, 30 passed, 1 skipped in 2.31s ===="),
            tally(30, 2, 1)
        );
        assert_eq!(Tally::of_pytest_line("5 passed in 0.12s"), tally(5, 0, 0));
        assert_eq!(
            Tally::of_pytest_line("tests/test_agents.py ....... [ 5%]"),
            tally(0, 0, 0)
        );
    }

    #[test]
    fn node_summaries_are_read() {
        assert_eq!(Tally::of_node_line("# pass 7"), tally(7, 0, 0));
        assert_eq!(Tally::of_node_line("ℹ fail 2"), tally(0, 2, 0));
        assert_eq!(Tally::of_node_line("# Subtest: fail 3 x"), tally(0, 0, 0));
    }
}
