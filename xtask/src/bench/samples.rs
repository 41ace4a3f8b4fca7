//! The few numbers that describe samples. Never a mean: one hiccup would move it.

use serde::Serialize;

/// What is said about samples, in their unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many.
    pub runs: usize,
    /// The least.
    pub best: f64,
    /// Half were at most this.
    pub median: f64,
    /// 95 of 100 were at most this.
    pub p95: f64,
    /// 99 of 100 were at most this.
    pub p99: f64,
}

/// The summary; all zero when there are none.
pub fn summary(mut samples: Vec<f64>) -> Summary {
    samples.sort_by(f64::total_cmp);
    Summary {
        runs: samples.len(),
        best: at(&samples, 0.0),
        median: at(&samples, 0.5),
        p95: at(&samples, 0.95),
        p99: at(&samples, 0.99),
    }
}

/// The value at a quantile, by nearest rank, of sorted samples.
fn at(samples: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * samples.len() as f64).ceil() as usize;
    samples.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let samples = (1..=100).rev().map(f64::from).collect();
        assert_eq!(
            summary(samples),
            Summary {
                runs: 100,
                best: 1.0,
                median: 50.0,
                p95: 95.0,
                p99: 99.0
            }
        );
    }

    #[test]
    fn no_run_is_no_panic() {
        assert_eq!(summary(Vec::new()).median, 0.0);
    }
}
