//! Waits for a moment in which nobody else uses the machine, before each side of a round that
//! takes long. Both sides wait alike, so it favours none.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long the machine is watched.
const WATCH: Duration = Duration::from_millis(150);
/// The share of processor time that may be in use.
const BUSY: f64 = 0.15;
/// On a machine that is never quiet it goes on after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Resolves when the machine is quiet, or after the patience, and says so then.
pub async fn quiet() -> Result<()> {
    let begun = Instant::now();
    let mut before = ticks()?;
    while begun.elapsed() < PATIENCE {
        tokio::time::sleep(WATCH).await;
        let now = ticks()?;
        let (used, all) = (now.0 - before.0, now.1 - before.1);
        if used as f64 <= BUSY * all as f64 {
            return Ok(());
        }
        before = now;
    }
    eprintln!("the machine is not quiet");
    Ok(())
}

/// Ticks of all processors since the start: in use, and altogether.
fn ticks() -> Result<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("an empty /proc/stat")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let all = fields.iter().take(8).sum();
    // The fourth and fifth are the ticks with nothing to do.
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Ok((all - idle, all))
}
