//! OCI runtimes found on the host.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{cgroup::Layout, names, request::Maker};

/// The runtimes we know how to use.
pub(crate) const KNOWN: [&str; 4] = ["crun", "runc", "youki", "runsc"];

/// Where programs are looked for before `PATH`, which may lack the administrator's places.
const PLACES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The program called `name`, if it is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    PLACES
        .iter()
        .map(PathBuf::from)
        .chain(env::split_paths(&path))
        .map(|place| place.join(name))
        .find(|path| path.is_absolute() && path.is_file())
}

/// A program of the host, without our environment: there are keys in it, and `/proc` shows it.
pub(super) fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command
}

/// The first line of what a program says about its version.
pub(crate) fn version(path: &Path) -> Option<String> {
    let output = program(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .next()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
}

/// How to use the runtime `name` at `path`, keeping its state in `state`.
pub(super) fn maker(name: &str, path: PathBuf, state: PathBuf, layout: Option<&Layout>) -> Maker {
    let options: &[&str] = match name {
        // Loopback inside comes with gVisor's own network stack.
        "runsc" => &["--network=none", "--platform=systrap"],
        _ => &[],
    };
    Maker::Program {
        path,
        state,
        options: options.iter().map(|&option| option.to_owned()).collect(),
        own_kernel: name == "runsc",
        hide_unified: name == "crun" && layout.is_some_and(Layout::is_hybrid),
    }
}

/// What a runtime keeps about its containers: the container's name, and the file or directory. Most
/// have a directory for each; runsc has files, `<id>_sandbox:<id>.state` and its lock.
pub(super) fn traces(state: &Path) -> Vec<(String, PathBuf)> {
    let trace = |name: String| {
        let id = name.split('_').next().unwrap_or_default().to_owned();
        (id, state.join(name))
    };
    names(state).into_iter().map(trace).collect()
}

/// Lets the runtime remove what it knows about a container that has ended. Its failure says
/// nothing: what matters is removed by us afterwards.
pub(super) fn forget(path: &Path, state: &Path, id: &str) {
    let _ = program(path)
        .arg("--root")
        .arg(state)
        .args(["delete", "--force", id])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
