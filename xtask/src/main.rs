//! The gate, the test runner, packaging and benchmarks: `cargo xtask <task>`.
//!
//! What a developer runs here is what CI runs; there is no second answer to "how do I build".
//! It drives cargo and reads sources; it never depends on a crate of the product, so that
//! `cargo xtask tidy` needs no build of the product.

mod audit;
mod bench;
mod check;
mod codegen;
mod dist;
mod fuzz;
mod metadata;
mod shell;
mod source;
mod tally;
mod test;
mod tidy;
mod unused;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "The gate, tests, packaging and benchmarks of Hostel"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, lints, docs, tidy, audit, unused dependencies, generated files, tests
    Check(check::Options),
    /// Every test: Rust, Python client, TypeScript client; ends with one summary line
    Test(test::Options),
    /// The house rules that a compiler does not know
    Tidy,
    /// Licences, sources, duplicate versions and the number of dependencies
    Audit,
    /// Dependencies that no source file names
    Unused,
    /// Writes the generated files
    Codegen(codegen::Options),
    /// Builds the release binary into target/dist
    Dist,
    /// Searches for inputs that break a fuzz target, following the coverage
    Fuzz(fuzz::Options),
    /// Measures the promises of docs/SPECIFICATION.md against their baselines
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Check(options) => check::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Tidy => tidy::run(),
        Task::Audit => audit::run(),
        Task::Unused => unused::run(),
        Task::Codegen(options) => codegen::run(&options),
        Task::Dist => dist::run(),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Bench(options) => bench::run(&options),
    };
    // Printed here and not returned: a backtrace of the task helps nobody who broke a rule.
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    ExitCode::from(u8::from(result.is_err()))
}
