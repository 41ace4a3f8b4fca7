//! The fixture: a guest in a sandbox made by `bwrap`.

use std::{
    fs,
    future::Future,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use sandbox::guest_channel::{
    Exit, GUEST, GUEST_SHA256, Guest, Incoming, Output, Process, ProcessInput, ProcessOutput,
    ProcessSpec,
};
use tokio::{net::UnixStream, time::timeout};

/// No test needs a tenth of this on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A guest, and the process outside that holds its sandbox.
pub struct Inside {
    pub guest: Guest,
    pub incoming: Incoming,
    holder: Child,
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Starts the guest, or says why this host cannot.
pub async fn inside() -> Option<Inside> {
    let (stream, holder) = start()?;
    stream.set_nonblocking(true).unwrap();
    let stream = UnixStream::from_std(stream).unwrap();
    let connected = soon(Guest::connect(Box::new(stream))).await;
    let (guest, incoming) = connected.unwrap();
    Some(Inside {
        guest,
        incoming,
        holder,
    })
}

/// Starts the guest without a word on the link.
pub fn start() -> Option<(std::os::unix::net::UnixStream, Child)> {
    if Command::new("bwrap").arg("--version").output().is_err() {
        eprintln!("skipped: bwrap is not installed");
        return None;
    }
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = Command::new("bwrap");
    command.args([
        "--unshare-all",
        "--die-with-parent",
        "--uid",
        "1000",
        "--gid",
        "1000",
    ]);
    command.args([
        "--cap-drop",
        "ALL",
        "--clearenv",
        "--as-pid-1",
        "--proc",
        "/proc",
    ]);
    command.args(["--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/workspace"]);
    for directory in ["/usr", "/bin", "/sbin", "/lib", "/lib64"] {
        command.args(["--ro-bind-try", directory, directory]);
    }
    if let Some(claude) = std::env::var_os("HOSTEL_TEST_CLAUDE") {
        command.arg("--ro-bind").arg(claude).arg("/claude");
    }
    command
        .arg("--ro-bind")
        .arg(program())
        .args(["/guest", "--chdir", "/", "/guest"]);
    let holder = command
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    Some((ours, holder))
}

/// The embedded guest as a file.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let write = || {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = directory.join(format!("guest-{GUEST_SHA256}"));
        let partial = directory.join(format!("guest-{}", std::process::id()));
        fs::write(&partial, GUEST).unwrap();
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&partial, &path).unwrap();
        path
    };
    PROGRAM.get_or_init(write).clone()
}

impl Inside {
    /// The guest's process id outside.
    pub fn pid(&self) -> u32 {
        let holder = self.holder.id();
        *children(holder)
            .first()
            .expect("bwrap has the guest as its child")
    }

    pub async fn spawn(&self, spec: ProcessSpec) -> Process {
        soon(self.guest.spawn(spec)).await.unwrap()
    }

    /// Runs a shell script to its end.
    pub async fn sh(&self, script: &str) -> Done {
        finish(self.spawn(sh(script)).await).await
    }
}

/// Every process outside whose parent is this one.
pub fn children(of: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        parent.and_then(|parent| parent.parse().ok()) == Some(of)
    };
    pids.filter(is_child).collect()
}

/// Every process outside below this one.
pub fn below(of: u32) -> Vec<u32> {
    let mut found = children(of);
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(children(*pid));
        at += 1;
    }
    found
}

pub fn spec(argv: &[&str]) -> ProcessSpec {
    ProcessSpec {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/tmp".into(),
        terminal: None,
        user: None,
    }
}

pub fn sh(script: &str) -> ProcessSpec {
    spec(&["/bin/bash", "-c", script])
}

/// All that came out of a process.
#[derive(Debug, Default)]
pub struct Done {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Exit,
}

impl Done {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    pub fn complaint(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

/// Closes standard input and takes everything to the end.
pub async fn finish(process: Process) -> Done {
    let (input, output) = process.split();
    soon(input.close_stdin()).await.unwrap();
    drain(output).await
}

/// Takes everything to the end.
pub async fn drain(mut output: ProcessOutput) -> Done {
    let mut done = Done::default();
    while let Some(piece) = soon(output.next()).await.unwrap() {
        match piece {
            Output::Stdout(bytes) => done.stdout.extend_from_slice(&bytes),
            Output::Stderr(bytes) => done.stderr.extend_from_slice(&bytes),
            Output::Exit(exit) => done.exit = exit,
        }
    }
    done
}

/// Reads standard output until it holds a text.
pub async fn until(output: &mut ProcessOutput, wanted: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(wanted) {
        match soon(output.next()).await.unwrap() {
            Some(Output::Stdout(bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} before {wanted:?}, after {seen:?}"),
        }
    }
    seen
}

/// A process that is started, split, and has said a word.
pub async fn ready(inside: &Inside, spec: ProcessSpec) -> (ProcessInput, ProcessOutput, String) {
    let (input, mut output) = inside.spawn(spec).await.split();
    let said = until(&mut output, "ready").await;
    (input, output, said)
}

/// Waits for a state.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        timeout(PATIENCE, wait).await.is_ok(),
        "never happened: {what}"
    );
}

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("within the time that every test has")
}
