//! The result as a table for people.

use super::row::{Bound, Judged, Verdict};
use super::samples::Summary;

/// Columns aligned, one row per measurement, and whether its bounds hold.
pub fn render(rows: &[Judged]) -> String {
    let head = [
        "what", "runs", "ours", "p95", "p99", "baseline", "theirs", "p95", "added", "ratio",
        "must be",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let padded = |line: &[String; 11]| {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(padded).collect::<Vec<_>>().join("\n")
}

fn cells(row: &Judged) -> [String; 11] {
    if let Some(why) = &row.missing {
        let mut cells: [String; 11] = Default::default();
        cells[0].clone_from(&row.what);
        cells[10].clone_from(why);
        return cells;
    }
    let value = |number: f64| format!("{number:.2} {}", row.unit);
    let theirs = |of: &dyn Fn(&Summary) -> String| row.theirs.as_ref().map_or_else(String::new, of);
    [
        row.what.clone(),
        row.ours.runs.to_string(),
        value(row.ours.median),
        value(row.ours.p95),
        value(row.ours.p99),
        row.baseline.clone().unwrap_or_default(),
        theirs(&|side| value(side.median)),
        theirs(&|side| value(side.p95)),
        theirs(&|side| value(row.ours.median - side.median)),
        theirs(&|side| format!("{:.2}×", row.ours.median / side.median)),
        if row.verdicts.is_empty() {
            "(orientation)".to_owned()
        } else {
            let verdicts: Vec<String> = row
                .verdicts
                .iter()
                .map(|made| verdict(made, &row.unit))
                .collect();
            verdicts.join(", ")
        },
    ]
}

fn verdict(verdict: &Verdict, unit: &str) -> String {
    let bound = match verdict.bound {
        Bound::Ratio(most) => format!("≤ {most}×"),
        Bound::Added(most) => format!("≤ +{most} {unit}"),
        Bound::TailRatio(most) => format!("p95 ≤ {most}×"),
        Bound::Median(most) => format!("≤ {most} {unit}"),
        Bound::P99(most) => format!("p99 ≤ {most} {unit}"),
    };
    if verdict.holds {
        format!("{bound} holds")
    } else {
        format!("{bound} BROKEN ({:.2})", verdict.measured)
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Row;
    use super::*;

    #[test]
    fn a_row_that_was_not_measured_has_the_reason_and_no_figures() {
        let text = r#"{"what":"a","baseline":"","unit":"ms","ours":[],"theirs":[],"bounds":[],"missing":"not installed (b)"}"#;
        let row: Row = serde_json::from_str(text).expect("a row is read");
        let table = render(&[row.judge()]);
        let line = table.lines().last().unwrap();
        assert!(
            line.starts_with('a') && line.ends_with("not installed (b)"),
            "{table}"
        );
        assert!(!line.contains("0.00"), "{table}");
    }
}
