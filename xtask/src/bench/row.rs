//! One line of the result: samples of both sides, and what must hold between them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::samples::{Summary, summary};

/// One line of the result, as it is measured.
#[derive(Debug, Deserialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What it was measured against; empty when it has no baseline.
    pub baseline: String,
    /// `ms` or `MB`.
    pub unit: String,
    /// Our samples.
    pub ours: Vec<f64>,
    /// The baseline's samples.
    pub theirs: Vec<f64>,
    /// What must hold; empty when the row is for orientation.
    pub bounds: Vec<Bound>,
    /// Why there are no samples, and what to do about it.
    #[serde(default)]
    pub missing: Option<String>,
}

/// What must hold.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
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

/// One line of the result, as it is told.
#[derive(Debug, Serialize)]
pub struct Judged {
    /// What was measured.
    pub what: String,
    /// What it was measured against.
    pub baseline: Option<String>,
    /// `ms` or `MB`.
    pub unit: String,
    /// Ours.
    pub ours: Summary,
    /// The baseline's.
    pub theirs: Option<Summary>,
    /// What must hold, and whether it does.
    pub verdicts: Vec<Verdict>,
    /// Why it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A bound and what came out.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// What must hold.
    #[serde(flatten)]
    pub bound: Bound,
    /// What is compared with the bound.
    pub measured: f64,
    /// Whether it holds.
    pub holds: bool,
}

impl Row {
    /// A row of times beside a baseline.
    pub fn times(
        what: &str,
        baseline: &str,
        (ours, theirs): (Vec<Duration>, Vec<Duration>),
        bounds: &[Bound],
    ) -> Row {
        Row {
            what: what.to_owned(),
            baseline: baseline.to_owned(),
            unit: "ms".to_owned(),
            ours: millis(&ours),
            theirs: millis(&theirs),
            bounds: bounds.to_vec(),
            missing: None,
        }
    }

    /// What it comes to.
    pub fn judge(self) -> Judged {
        let ours = summary(self.ours);
        let theirs = (!self.theirs.is_empty()).then(|| summary(self.theirs));
        let verdict = |bound: &Bound| verdict(*bound, &ours, theirs.as_ref());
        let verdicts = self.bounds.iter().map(verdict).collect();
        Judged {
            what: self.what,
            baseline: Some(self.baseline).filter(|baseline| !baseline.is_empty()),
            unit: self.unit,
            ours,
            theirs,
            verdicts,
            missing: self.missing,
        }
    }
}

impl Judged {
    /// Whether every bound holds.
    pub fn holds(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.holds)
    }
}

/// A baseline that is missing makes a comparison with it nothing that could hold.
fn verdict(bound: Bound, ours: &Summary, theirs: Option<&Summary>) -> Verdict {
    let theirs = |of: fn(&Summary) -> f64| theirs.map_or(f64::NAN, of);
    let (measured, most) = match bound {
        Bound::Ratio(most) => (ours.median / theirs(|side| side.median), most),
        Bound::Added(most) => (ours.median - theirs(|side| side.median), most),
        Bound::TailRatio(most) => (ours.p95 / theirs(|side| side.p95), most),
        Bound::Median(most) => (ours.median, most),
        Bound::P99(most) => (ours.p99, most),
    };
    Verdict {
        bound,
        measured,
        holds: measured <= most,
    }
}

fn millis(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(theirs: &[f64], bound: Bound) -> Row {
        Row {
            what: "a".to_owned(),
            baseline: "b".to_owned(),
            unit: "ms".to_owned(),
            ours: vec![1.0, 3.0, 10.0],
            theirs: theirs.to_vec(),
            bounds: vec![bound],
            missing: None,
        }
    }

    #[test]
    fn a_bound_is_judged_by_what_it_names() {
        let theirs = [1.0, 2.0, 5.0];
        let cases = [
            (Bound::Ratio(1.5), 1.5, true),
            (Bound::Added(0.9), 1.0, false),
            (Bound::TailRatio(2.0), 2.0, true),
            (Bound::Median(3.0), 3.0, true),
            (Bound::P99(9.0), 10.0, false),
        ];
        for (bound, measured, holds) in cases {
            let judged = row(&theirs, bound).judge();
            assert_eq!(judged.verdicts[0].measured, measured, "{bound:?}");
            assert_eq!(judged.holds(), holds, "{bound:?}");
        }
    }

    #[test]
    fn nothing_holds_against_a_baseline_that_is_missing() {
        assert!(!row(&[], Bound::Ratio(100.0)).judge().holds());
    }

    #[test]
    fn a_row_is_read_as_the_measuring_crate_writes_it() {
        let text = r#"{"what":"a","baseline":"","unit":"MB","ours":[1.5],"theirs":[],"bounds":[{"kind":"median","most":30.0}]}"#;
        let judged = serde_json::from_str::<Row>(text)
            .expect("a row is read")
            .judge();
        assert!(judged.holds() && judged.baseline.is_none() && judged.theirs.is_none());
    }
}
