//! Progress of long work, on standard error: one line that is rewritten on a terminal, plain
//! lines now and then elsewhere, so that a log stays readable.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a terminal is redrawn: more often only costs.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a log gets a line.
const LOG_LINE: Duration = Duration::from_secs(5);

/// Progress of one piece of work.
pub struct Progress {
    what: String,
    terminal: bool,
    started: Instant,
    told: Option<Instant>,
}

impl Progress {
    /// Begins, and says so.
    pub fn begin(what: &str) -> Progress {
        let progress = Progress {
            what: what.to_owned(),
            terminal: std::io::stderr().is_terminal(),
            started: Instant::now(),
            told: None,
        };
        progress.say("…", false);
        progress
    }

    /// So many bytes of so many; tells it when it is time to.
    pub fn bytes(&mut self, done: u64, total: Option<u64>) {
        let interval = if self.terminal { REDRAW } else { LOG_LINE };
        let last = self.told.unwrap_or(self.started);
        if last.elapsed() < interval {
            return;
        }
        self.told = Some(Instant::now());
        self.say(&amount(done, total), false);
    }

    /// Something worth knowing while it goes on.
    pub fn note(&self, text: &str) {
        self.say(text, false);
    }

    /// It is done.
    pub fn end(self, how: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.say(&format!("{how} ({seconds:.1} s)"), true);
    }

    fn say(&self, text: &str, last: bool) {
        let mut err = std::io::stderr().lock();
        // Progress that cannot be told is no reason to stop the work.
        let _ = match (self.terminal, last) {
            (true, false) => {
                write!(err, "\r\x1b[K{}: {text}", self.what).and_then(|()| err.flush())
            }
            (true, true) => writeln!(err, "\r\x1b[K{}: {text}", self.what),
            (false, _) => writeln!(err, "{}: {text}", self.what),
        };
    }
}

fn amount(done: u64, total: Option<u64>) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    match total.filter(|total| *total > 0) {
        Some(total) => format!(
            "{:.0} of {:.0} MB, {:.0} %",
            megabytes(done),
            megabytes(total),
            100.0 * done as f64 / total as f64
        ),
        None => format!("{:.0} MB", megabytes(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::amount;

    #[test]
    fn amount_is_told_with_and_without_a_total() {
        assert_eq!(amount(50_000_000, Some(200_000_000)), "50 of 200 MB, 25 %");
        assert_eq!(amount(1_400_000, None), "1 MB");
        assert_eq!(amount(1, Some(0)), "0 MB");
    }
}
