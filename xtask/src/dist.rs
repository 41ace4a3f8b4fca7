//! The release binary: built, stripped, checked to need nothing but the C library, hashed, and
//! laid down in `target/dist`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// What the binary may ask the loader for: the parts of glibc, and the unwinder that comes with it.
const SYSTEM: [&str; 8] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "librt.so.1",
    "libpthread.so.0",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];

/// Builds and checks `target/dist/hostel` and `target/dist/hostel.sha256`.
pub fn run() -> Result<()> {
    shell::run(shell::cargo().args(["build", "--release", "--locked", "--package", "cli"]))?;
    let folder = shell::target().join("dist");
    fs::create_dir_all(&folder)?;
    let binary = folder.join("hostel");
    fs::copy(shell::target().join("release/hostel"), &binary)
        .context("cannot copy the release binary")?;
    shell::run(Command::new("strip").arg(&binary))?;
    let needed = shell::output(
        Command::new("readelf")
            .args(["--dynamic", "--wide"])
            .arg(&binary),
    )?;
    let needed = libraries(&String::from_utf8_lossy(&needed));
    let foreign: Vec<_> = needed
        .iter()
        .filter(|name| !SYSTEM.contains(&name.as_str()))
        .collect();
    if !foreign.is_empty() {
        bail!("the binary needs {foreign:?}, which a fresh machine may not have");
    }
    let hash = shell::output(Command::new("sha256sum").arg("hostel").current_dir(&folder))?;
    fs::write(folder.join("hostel.sha256"), &hash)?;
    let megabytes = fs::metadata(&binary)?.len() as f64 / 1e6;
    println!(
        "{}: {megabytes:.1} MB, needs {}",
        binary.display(),
        needed.join(", ")
    );
    print!("{}", String::from_utf8_lossy(&hash));
    Ok(())
}

/// The names on the `NEEDED` lines of `readelf --dynamic`.
fn libraries(dynamic: &str) -> Vec<String> {
    dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn needed_libraries_are_read() {
        let text = " 0x0000000000000001 (NEEDED)  Shared library: [libssl.so.3]\n 0x000000000000000e (SONAME) Library soname: [x]\n";
        assert_eq!(super::libraries(text), ["libssl.so.3"]);
    }
}
