//! The gate: every check in the order in which a failure is cheapest to learn, all of them run,
//! the failed ones named at the end.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::tally::Tally;
use crate::{audit, codegen, shell, test, tidy, unused};

/// How the gate is asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Leave the tests out
    #[arg(long)]
    pub no_tests: bool,
    /// Also the client tests in Python and TypeScript, and a summary line over everything
    #[arg(long, conflicts_with = "no_tests")]
    pub everything: bool,
}

type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 7] = [
    ("format", || {
        shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
    }),
    ("tidy", tidy::run),
    ("audit", audit::run),
    ("unused dependencies", unused::run),
    ("lints", lints),
    ("docs", docs),
    ("generated files", || {
        codegen::run(&codegen::Options { check: true })
    }),
];

/// Runs the gate; the error names what failed.
pub fn run(options: &Options) -> Result<()> {
    let mut failed = Vec::new();
    let mut tally = Tally::default();
    for (name, step) in STEPS {
        tally += Tally::one(took(name, step, &mut failed));
    }
    if !options.no_tests {
        let only = if options.everything {
            Vec::new()
        } else {
            vec![test::Suite::Rust]
        };
        let suites = test::Options { only };
        let started = Instant::now();
        tally += test::suites(&suites, &mut failed);
        eprintln!("── tests: {:.0} s", started.elapsed().as_secs_f64());
    }
    if failed.is_empty() {
        println!("\ncheck: everything holds\n{tally}");
        return Ok(());
    }
    println!("\ncheck: failed: {}\n{tally}", failed.join(", "));
    bail!("{} of the checks failed", failed.len());
}

fn took(name: &'static str, step: fn() -> Result<()>, failed: &mut Vec<String>) -> bool {
    eprintln!("── {name}");
    let started = Instant::now();
    let result = step();
    let seconds = started.elapsed().as_secs_f64();
    match &result {
        Ok(()) => eprintln!("── {name}: holds, {seconds:.1} s"),
        Err(error) => {
            eprintln!("── {name}: failed, {seconds:.1} s: {error:#}");
            failed.push(name.to_owned());
        }
    }
    result.is_ok()
}

fn lints() -> Result<()> {
    shell::run(shell::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

fn docs() -> Result<()> {
    let mut command = shell::cargo();
    command.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
        "--quiet",
    ]);
    command.env(
        "RUSTDOCFLAGS",
        "-D rustdoc::broken_intra_doc_links -D rustdoc::invalid_html_tags",
    );
    shell::run(&mut command)
}
