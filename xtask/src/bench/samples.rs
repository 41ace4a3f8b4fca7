//! Times, and the few numbers that describe them. Never a mean: one hiccup would move it.

use std::time::Duration;

use serde::Serialize;

/// The times of one side.
#[derive(Default)]
pub struct Samples(Vec<Duration>);

/// What is said about them, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many runs.
    pub runs: usize,
    /// The fastest.
    pub best_ms: f64,
    /// Half were at most this.
    pub median_ms: f64,
    /// 95 of 100 were at most this.
    pub p95_ms: f64,
}

impl Samples {
    /// Adds one run.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The summary; all zero when there was no run.
    pub fn summary(mut self) -> Summary {
        self.0.sort();
        Summary {
            runs: self.0.len(),
            best_ms: self.at(0.0),
            median_ms: self.at(0.5),
            p95_ms: self.at(0.95),
        }
    }

    /// The value at a quantile, by nearest rank, of sorted times.
    fn at(&self, quantile: f64) -> f64 {
        let rank = (quantile * self.0.len() as f64).ceil() as usize;
        self.0
            .get(rank.saturating_sub(1))
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let mut samples = Samples::default();
        for ms in (1..=100).rev() {
            samples.add(Duration::from_millis(ms));
        }
        assert_eq!(
            samples.summary(),
            Summary {
                runs: 100,
                best_ms: 1.0,
                median_ms: 50.0,
                p95_ms: 95.0
            }
        );
    }

    #[test]
    fn no_run_is_no_panic() {
        assert_eq!(Samples::default().summary().median_ms, 0.0);
    }
}
