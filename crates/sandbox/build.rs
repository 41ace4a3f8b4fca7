//! Builds the guest for embedding.
//!
//! The guest is another program with other needs: static, small, aborting. So it is built by a
//! cargo of its own, with its own profile and target directory, for the machine this crate is
//! built for. The C library is linked in (`crt-static`), which needs no other target installed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};

/// What the guest is made of; a change in any of these builds it again.
const SOURCES: [&str; 8] = [
    "crates/guest/src",
    "crates/guest/build.rs",
    "crates/guest/seccomp.json",
    "crates/guest/Cargo.toml",
    "crates/protocol/src",
    "crates/protocol/Cargo.toml",
    "Cargo.toml",
    "Cargo.lock",
];

/// What of the outer cargo's environment the inner one keeps: where things are, and how to reach
/// the network. Everything else (flags, wrappers of lints, the package being built) is not the
/// guest's.
const KEPT: [&str; 7] = [
    "CARGO_HOME",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "RUSTUP_",
    "RUSTC_WRAPPER",
];

/// Prefixes of what cargo puts into a build script's environment.
const DROPPED: [&str; 10] = [
    "CARGO",
    "RUST",
    "CLIPPY",
    "TARGET",
    "HOST",
    "PROFILE",
    "OPT_LEVEL",
    "DEBUG",
    "NUM_JOBS",
    "OUT_DIR",
];

fn main() {
    let workspace = workspace();
    for source in SOURCES {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(source).display()
        );
    }
    println!("cargo::rerun-if-changed=build.rs");

    let out = PathBuf::from(var("OUT_DIR"));
    let built = build(&workspace, &target_dir(&out));
    let bytes = fs::read(&built)
        .unwrap_or_else(|error| panic!("reading the guest at {}: {error}", built.display()));
    assert!(
        is_static(&bytes),
        "the guest at {} is not a static executable",
        built.display()
    );
    fs::write(out.join("guest"), &bytes).expect("OUT_DIR is writable");
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("cargo::rustc-env=HOSTEL_GUEST_SHA256={digest}");
}

/// Runs the inner cargo and says where the program is.
fn build(workspace: &Path, target_dir: &Path) -> PathBuf {
    let triple = var("TARGET");
    let mut cargo = Command::new(var("CARGO"));
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        if begins(&DROPPED) && !begins(&KEPT) {
            cargo.env_remove(&name);
        }
    }
    let flags = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];
    let status = cargo
        .current_dir(workspace)
        .args([
            "build",
            "--locked",
            "--package",
            "guest",
            "--profile",
            "guest",
        ])
        .args(["--target", &triple])
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .status()
        .expect("the cargo that runs this script can run again");
    assert!(
        status.success(),
        "building the guest failed; its messages are above"
    );
    target_dir.join(triple).join("guest").join("guest")
}

/// A directory next to those of the profiles, so that debug, release and lint builds share one
/// guest. Not the outer directory itself: the outer cargo holds its lock while it waits for us.
fn target_dir(out: &Path) -> PathBuf {
    // <target>/[<triple>/]<profile>/build/<package>-<hash>/out
    let profile = out.ancestors().nth(3).expect("cargo's layout of OUT_DIR");
    let above = profile
        .parent()
        .expect("a profile's directory has a parent");
    let cross = above
        .file_name()
        .is_some_and(|name| name.to_str() == Some(&var("TARGET")));
    let target = if cross {
        above.parent().unwrap_or(above)
    } else {
        above
    };
    target.join("guest")
}

/// Whether this is an ELF executable without an interpreter (program header type 3), which is
/// what makes it start in any root file system.
fn is_static(elf: &[u8]) -> bool {
    const INTERPRETER: u32 = 3;
    let word = |at: usize| {
        elf.get(at..at + 2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]) as usize)
    };
    let (Some(size), Some(count)) = (word(0x36), word(0x38)) else {
        return false;
    };
    let Some(start) = elf.get(0x20..0x28) else {
        return false;
    };
    let start = u64::from_le_bytes(start.try_into().expect("eight bytes")) as usize;
    elf.starts_with(b"\x7fELF\x02\x01")
        && (0..count).all(|index| {
            let at = start + index * size;
            elf.get(at..at + 4)
                .is_some_and(|kind| kind != INTERPRETER.to_le_bytes().as_slice())
        })
}

fn workspace() -> PathBuf {
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("the crate is at crates/sandbox")
        .to_owned()
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
