//! `cargo xtask fuzz`: searches for inputs that break a target, following the coverage (libFuzzer).
//!
//! It works with a stable compiler: what libFuzzer needs of one is to count what the code reaches,
//! which any build of LLVM can. The build is a directory of its own, `target/fuzz`. What is found to
//! reach something new is kept in `target/fuzz/corpus` for the next search; what breaks a target becomes
//! a file of its corpus in the repository, where every test run tries it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::shell;

/// How a search is asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Which targets; all, one after the other, when none is named
    targets: Vec<String>,
    /// How long each is searched
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Puts the fewest inputs that reach everything found so far into the repository's corpus
    #[arg(long)]
    keep: bool,
    /// Names the targets
    #[arg(long)]
    list: bool,
}

/// A target: its name, its package, which of the package's test programs, and the test.
struct Target {
    name: &'static str,
    package: &'static str,
    program: &'static [&'static str],
    test: &'static str,
}

const fn target(
    name: &'static str,
    package: &'static str,
    program: &'static [&'static str],
    test: &'static str,
) -> Target {
    Target {
        name,
        package,
        program,
        test,
    }
}

const TARGETS: [Target; 14] = [
    target(
        "link",
        "protocol",
        &["--test", "fuzz"],
        "any_bytes_on_a_link_are_what_they_say_or_an_error",
    ),
    target(
        "tree",
        "protocol",
        &["--test", "fuzz"],
        "any_bytes_are_a_tree_s_frames_or_an_error",
    ),
    target(
        "output",
        "claude",
        &["--test", "fuzz"],
        "any_output_is_lines_frames_and_transcripts_or_an_error",
    ),
    target(
        "said",
        "server",
        &["--lib"],
        "session::fuzz::any_frame_of_claude_becomes_words_of_its_own_size",
    ),
    target(
        "requests",
        "egress",
        &["--lib"],
        "fuzz::no_bytes_are_read_in_two_ways",
    ),
    target(
        "hello",
        "egress",
        &["--lib"],
        "fuzz::the_first_message_of_tls_is_read_as_a_tls_library_reads_it",
    ),
    target(
        "policy",
        "egress",
        &["--lib"],
        "fuzz::whatever_a_policy_says_equal_requests_have_equal_verdicts",
    ),
    target(
        "environment",
        "server",
        &["--lib"],
        "session::fuzz::any_environment_that_is_accepted_is_enforced_as_it_reads",
    ),
    target(
        "body",
        "api",
        &["--test", "fuzz"],
        "any_body_is_read_or_refused_in_a_bounded_sentence",
    ),
    target(
        "cursor",
        "store",
        &["--test", "conformance"],
        "cursors::any_cursor_gives_a_page_or_is_malformed",
    ),
    target(
        "archive",
        "guest",
        &["--bin", "guest"],
        "fuzz::any_archive_is_unpacked_below_its_directory_or_refused",
    ),
    target(
        "restored",
        "guest",
        &["--bin", "guest"],
        "fuzz::any_tree_is_restored_below_its_roots_or_refused",
    ),
    target(
        "saved",
        "snapshot",
        &["--test", "it"],
        "fuzz::any_tree_is_kept_as_it_came_or_refused",
    ),
    target(
        "outputs",
        "server",
        &["--lib"],
        "session::fuzz::any_archive_of_results_stays_within_its_bounds",
    ),
];

/// The longest input in bytes, and how long one may take and how much memory a target.
const BOUNDS: [&str; 3] = ["-max_len=16384", "-timeout=20", "-rss_limit_mb=3072"];

/// What makes a build count what it reaches.
const FLAGS: [&str; 9] = [
    "--cfg",
    "hostel_fuzz",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// Searches each target; any input that breaks one is an error.
pub fn run(options: &Options) -> Result<()> {
    if options.list {
        for target in &TARGETS {
            println!("{:<12} {}: {}", target.name, target.package, target.test);
        }
        return Ok(());
    }
    if let Some(unknown) = options
        .targets
        .iter()
        .find(|name| !TARGETS.iter().any(|target| target.name == **name))
    {
        bail!("there is no target {unknown}; `cargo xtask fuzz --list` names them");
    }
    let wanted = |target: &&Target| {
        options.targets.is_empty() || options.targets.iter().any(|name| name == target.name)
    };
    let mut broken = Vec::new();
    for target in TARGETS.iter().filter(wanted) {
        if let Err(error) = search(target, options) {
            eprintln!("{}: {error:#}", target.name);
            broken.push(target.name);
        }
    }
    if !broken.is_empty() {
        bail!("broken: {}", broken.join(", "));
    }
    Ok(())
}

fn search(target: &Target, options: &Options) -> Result<()> {
    let built = shell::target().join("fuzz");
    let found = built.join("corpus").join(target.name);
    fs::create_dir_all(&found)?;
    let mut arguments: Vec<String> = BOUNDS.map(str::to_owned).into();
    arguments.push("-artifact_prefix={corpus}/".to_owned());
    arguments.push("-print_final_stats=1".to_owned());
    arguments.push(format!("-max_total_time={}", options.seconds));
    arguments.push(found.display().to_string());
    arguments.push("{corpus}".to_owned());
    drive(target, &built, &arguments)?;
    if options.keep {
        let mut arguments: Vec<String> = BOUNDS.map(str::to_owned).into();
        arguments.push("-set_cover_merge=1".to_owned());
        arguments.push("{corpus}".to_owned());
        arguments.push(found.display().to_string());
        drive(target, &built, &arguments)?;
    }
    Ok(())
}

fn drive(target: &Target, built: &Path, arguments: &[String]) -> Result<()> {
    let mut command = shell::cargo();
    command.args(["test", "--profile", "fuzz", "--package", target.package]);
    command.args(target.program);
    // A target of its own keeps the flags from build scripts and macros, which run here.
    command
        .args(["--target", &host()?, "--target-dir"])
        .arg(built);
    command.args([
        "--",
        "--exact",
        target.test,
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    command.env("FUZZ_ARGS", arguments.join("\n"));
    shell::run(&mut command)
}

/// The machine that is built for: this one.
fn host() -> Result<String> {
    let told = shell::output(std::process::Command::new("rustc").arg("-vV"))?;
    let told = String::from_utf8_lossy(&told).into_owned();
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("rustc does not say for which machine it builds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_test_and_a_corpus() {
        for target in &TARGETS {
            let package = shell::root().join("crates").join(target.package);
            let corpus = fs::read_dir(package.join("tests/corpus").join(target.name));
            assert!(
                corpus.is_ok_and(|mut files| files.next().is_some()),
                "{}",
                target.name
            );
            let name = target.test.rsplit("::").next().unwrap_or_default();
            let sources = crate::source::files(&package, &[".rs"]).unwrap();
            let called = format!("fuzz::target!(\"{}\"", target.name);
            let there = sources.iter().any(|path| {
                let text = fs::read_to_string(path).unwrap();
                text.contains(&format!("fn {name}(")) && text.contains(&called)
            });
            assert!(there, "{}", target.test);
        }
    }
}
