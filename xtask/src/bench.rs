//! The benches: each promise of `docs/SPECIFICATION.md` measured beside its baseline, in the same
//! run, because absolute times drift and ratios do not.
//!
//! A bench is a function from [`Setting`] to rows. Most of them are measured by the crate `bench`,
//! which may use the product's own crates; see [`measured`]. To add one here: write it in a file
//! below `bench/` with [`pairs::interleaved`], and add it to `BENCHES`.

mod launch;
mod measured;
mod pairs;
mod row;
mod samples;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::shell;
use row::Row;

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
    /// Use the binaries that were built before
    #[arg(long)]
    no_build: bool,
    /// Folder into which rivals were installed; they are looked for on the PATH, too
    #[arg(long, value_name = "DIR")]
    rivals: Option<PathBuf>,
}

/// What a bench is given.
pub struct Setting {
    /// The release binary under test.
    pub hostel: PathBuf,
    /// Measured rounds.
    pub rounds: usize,
    /// Where rivals were installed.
    pub rivals: Option<PathBuf>,
}

struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn(&Setting) -> Result<Vec<Row>>,
}

const BENCHES: [Bench; 18] = [
    Bench {
        name: "launch",
        about: "start of the binary, as each sandbox helper pays it",
        run: launch::run,
    },
    Bench {
        name: "create",
        about: "a sandbox, against bwrap and runc",
        run: |setting| measured::run(setting, "create"),
    },
    Bench {
        name: "turn",
        about: "a session's first text, cold, against the bare claude",
        run: |setting| measured::run(setting, "turn"),
    },
    Bench {
        name: "second",
        about: "the second turn's first text, against the bare claude",
        run: |setting| measured::run(setting, "second"),
    },
    Bench {
        name: "crowd",
        about: "ten first turns at once",
        run: |setting| measured::run(setting, "crowd"),
    },
    Bench {
        name: "rivals",
        about: "sandbox-agent and omnigent, where they are installed, against the bare claude",
        run: |setting| measured::run(setting, "rivals"),
    },
    Bench {
        name: "egress",
        about: "what the way out adds to a model call",
        run: |setting| measured::run(setting, "egress"),
    },
    Bench {
        name: "proxy",
        about: "tunnels, requests and decisions of the way out, against none and tinyproxy",
        run: |setting| measured::run(setting, "proxy"),
    },
    Bench {
        name: "events",
        about: "an event from the log to its readers",
        run: |setting| measured::run(setting, "events"),
    },
    Bench {
        name: "memory",
        about: "memory of an idle server and of a guest",
        run: |setting| measured::run(setting, "memory"),
    },
    Bench {
        name: "snapshot",
        about: "files saved and brought back, against tar | zstd -1",
        run: |setting| measured::run(setting, "snapshot"),
    },
    Bench {
        name: "warm",
        about: "a session with a warm pool, against a bare claude that is initialised",
        run: |setting| measured::run(setting, "warm"),
    },
    Bench {
        name: "warm-ten",
        about: "ten such at once",
        run: |setting| measured::run(setting, "warm-ten"),
    },
    Bench {
        name: "hybrid",
        about: "a saved session with 10,000 files, against a cold one with none",
        run: |setting| measured::run(setting, "hybrid"),
    },
    Bench {
        name: "idle",
        about: "processor time of 20 idle sessions, against 20 bare claudes",
        run: |setting| measured::run(setting, "idle"),
    },
    Bench {
        name: "frozen",
        about: "a message to a frozen session, against a bare claude",
        run: |setting| measured::run(setting, "frozen"),
    },
    Bench {
        name: "saved",
        about: "memory of 20,000 saved sessions, and restarts with them",
        run: |setting| measured::run(setting, "saved"),
    },
    Bench {
        name: "ephemeral",
        about: "what 200 ephemeral sessions leave",
        run: |setting| measured::run(setting, "ephemeral"),
    },
];

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
        hostel: binaries(options.no_build)?,
        rounds: options.rounds.max(1),
        rivals: options.rivals.clone(),
    };
    let mut rows = Vec::new();
    for bench in chosen {
        eprintln!(
            "── {}: {}, {} rounds",
            bench.name, bench.about, setting.rounds
        );
        rows.extend((bench.run)(&setting).with_context(|| format!("bench {}", bench.name))?);
    }
    let rows: Vec<_> = rows.into_iter().map(Row::judge).collect();
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
        bail!("{broken} rows have a bound that does not hold");
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

/// The binary under test, beside the one that measures it.
fn binaries(built: bool) -> Result<PathBuf> {
    if !built {
        shell::run(shell::cargo().args([
            "build",
            "--release",
            "--locked",
            "--package",
            "cli",
            "--package",
            "bench",
        ]))?;
    }
    Ok(shell::target().join("release/hostel"))
}
