//! The benches: each promise of `docs/SPECIFICATION.md` measured beside its baseline, in the same
//! run, because absolute times drift and ratios do not.
//!
//! A bench is a function from [`Setting`] to rows. To add one: write it in a file below `bench/`
//! with [`pairs::interleaved`], and add it to `BENCHES`.

mod launch;
mod pairs;
mod samples;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::shell;
use samples::Summary;

/// How benches are asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Only these; all when none is named
    names: Vec<String>,
    /// List what there is
    #[arg(long)]
    list: bool,
    /// Measured rounds; each runs ours and the baseline once
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Also write the JSON here
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What a bench is given.
pub struct Setting {
    /// The release binary under test.
    pub hostel: PathBuf,
    /// Measured rounds.
    pub rounds: usize,
}

/// What must hold.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Bound {
    /// Our median is at most this many times the baseline's.
    Ratio {
        /// The largest allowed ratio.
        most: f64,
    },
}

/// One line of the result.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What it was measured against.
    pub baseline: String,
    /// Our times.
    pub ours: Summary,
    /// The baseline's times.
    pub theirs: Summary,
    /// What must hold.
    pub bound: Bound,
}

struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn(&Setting) -> Result<Vec<Row>>,
}

const BENCHES: [Bench; 1] = [Bench {
    name: "launch",
    about: "start of the binary, as each sandbox helper pays it",
    run: launch::run,
}];

/// Runs the benches; a bound that does not hold is an error.
pub fn run(options: &Options) -> Result<()> {
    if options.list {
        for bench in &BENCHES {
            println!("{:<12} {}", bench.name, bench.about);
        }
        return Ok(());
    }
    let chosen = chosen(&options.names)?;
    let setting = Setting {
        hostel: release()?,
        rounds: options.rounds.max(1),
    };
    let mut rows = Vec::new();
    for bench in chosen {
        eprintln!(
            "── {}: {}, {} rounds",
            bench.name, bench.about, setting.rounds
        );
        rows.extend((bench.run)(&setting).with_context(|| format!("bench {}", bench.name))?);
    }
    let json = serde_json::to_string_pretty(&rows)?;
    if let Some(path) = &options.out {
        std::fs::write(path, &json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!(
        "{}",
        if options.json {
            json
        } else {
            table::render(&rows)
        }
    );
    let broken = rows.iter().filter(|row| !row.holds()).count();
    if broken > 0 {
        bail!("{broken} bounds do not hold");
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Bench>> {
    if names.is_empty() {
        return Ok(BENCHES.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            BENCHES
                .iter()
                .find(|bench| bench.name == name)
                .with_context(|| {
                    format!(
                        "no bench is called {name}; `cargo xtask bench --list` says which there are"
                    )
                })
        })
        .collect()
}

fn release() -> Result<PathBuf> {
    shell::run(shell::cargo().args(["build", "--release", "--locked", "--package", "cli"]))?;
    Ok(shell::target().join("release/hostel"))
}

impl Row {
    /// Our median over the baseline's.
    pub fn ratio(&self) -> f64 {
        self.ours.median_ms / self.theirs.median_ms
    }

    /// Whether the bound holds.
    pub fn holds(&self) -> bool {
        match self.bound {
            Bound::Ratio { most } => self.ratio() <= most,
        }
    }
}
