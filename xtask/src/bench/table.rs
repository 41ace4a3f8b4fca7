//! The result as a table for people.

use super::{Bound, Row};

/// Columns aligned, one row per measurement, and whether its bound holds.
pub fn render(rows: &[Row]) -> String {
    let mut lines = vec![
        [
            "what", "ours", "p95", "baseline", "theirs", "p95", "ratio", "must be", "",
        ]
        .map(str::to_owned),
    ];
    lines.extend(rows.iter().map(cells));
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let padded = |line: &[String; 9]| {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(padded).collect::<Vec<_>>().join("\n")
}

fn cells(row: &Row) -> [String; 9] {
    let bound = match row.bound {
        Bound::Ratio { most } => format!("≤ {most}×"),
    };
    [
        row.what.clone(),
        format!("{:.2} ms", row.ours.median_ms),
        format!("{:.2} ms", row.ours.p95_ms),
        row.baseline.clone(),
        format!("{:.2} ms", row.theirs.median_ms),
        format!("{:.2} ms", row.theirs.p95_ms),
        format!("{:.2}×", row.ratio()),
        bound,
        if row.holds() { "holds" } else { "BROKEN" }.to_owned(),
    ]
}
