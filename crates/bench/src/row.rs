//! What a measurement gives back: samples of both sides, and what must hold between them.

use std::time::Duration;

use serde::Serialize;

/// Rounds whose samples are thrown away: caches and files are warm afterwards, for both alike.
pub const WARM_UP: usize = 2;

/// One line of the result.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What it was measured against; empty when it has no baseline.
    pub baseline: String,
    /// `ms`, `MB` and the like; empty for what is counted.
    pub unit: &'static str,
    /// Our samples.
    pub ours: Vec<f64>,
    /// The baseline's samples.
    pub theirs: Vec<f64>,
    /// What must hold; empty when the row is for orientation.
    pub bounds: Vec<Bound>,
    /// Why there are no samples, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// What must hold.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "kind", content = "most", rename_all = "snake_case")]
pub enum Bound {
    /// Our median over the baseline's.
    Ratio(f64),
    /// Our median less the baseline's.
    Added(f64),
    /// Our 95th percentile over the baseline's.
    TailRatio(f64),
    /// Our median.
    Median(f64),
    /// Our 99th percentile.
    P99(f64),
}

impl Row {
    /// A row of times.
    pub fn times(what: &str, ours: &[Duration], bounds: &[Bound]) -> Row {
        Row {
            what: what.to_owned(),
            baseline: String::new(),
            unit: "ms",
            ours: millis(ours),
            theirs: Vec::new(),
            bounds: bounds.to_vec(),
            missing: None,
        }
    }

    /// A row of what could not be measured here.
    pub fn missing(what: &str, why: &str) -> Row {
        Row {
            missing: Some(why.to_owned()),
            ..Row::times(what, &[], &[])
        }
    }

    /// The same beside a baseline.
    pub fn against(self, baseline: &str, theirs: &[Duration]) -> Row {
        Row {
            baseline: baseline.to_owned(),
            theirs: millis(theirs),
            ..self
        }
    }

    /// A row of one size.
    pub fn size(what: &str, bytes: u64, bounds: &[Bound]) -> Row {
        Row::number(what, "MB", bytes as f64 / 1e6, bounds)
    }

    /// A row of one number.
    pub fn number(what: &str, unit: &'static str, ours: f64, bounds: &[Bound]) -> Row {
        Row {
            unit,
            ours: vec![ours],
            ..Row::times(what, &[], bounds)
        }
    }
}

/// Milliseconds in steps of a tenth of a microsecond, which keeps the JSON short.
fn millis(times: &[Duration]) -> Vec<f64> {
    let milli = |time: &Duration| (time.as_secs_f64() * 1e7).round() / 1e4;
    times.iter().map(milli).collect()
}
