//! Processes of this machine as `/proc` shows them, and sandboxes as their directories show them.
//! Only processes that a test's own server started are ever named here, and killed by number.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::until;

/// A process: its number, and when it began, so that a number that was given again is not it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    started: u64,
}

impl Process {
    /// The process of this number, unless it is gone or only its remains wait to be reaped.
    #[must_use]
    pub fn of(pid: i32) -> Option<Process> {
        let [state, .., started] = stat(pid)?;
        let started = started.parse().ok()?;
        (state != "Z" && state != "X").then_some(Process { pid, started })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn lives(self) -> bool {
        Process::of(self.pid) == Some(self)
    }

    /// kill -9. One that is gone already stays gone.
    pub fn kill(self) {
        if self.lives() {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    /// Kills it and waits until it is gone.
    pub async fn kill_and_wait(self) {
        self.kill();
        until("the end of a killed process", || {
            (!self.lives()).then_some(())
        })
        .await;
    }

    /// Its arguments.
    #[must_use]
    pub fn arguments(self) -> Vec<String> {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\0');
        text.split('\0').map(str::to_owned).collect()
    }

    /// Its working directory, as it sees it itself.
    #[must_use]
    pub fn directory(self) -> PathBuf {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).unwrap_or_default()
    }

    /// The user it runs as, seen from outside.
    #[must_use]
    pub fn user(self) -> u32 {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(format!("/proc/{}", self.pid)).map_or(0, |found| found.uid())
    }

    /// Memory that is its own or its share of what it shares, in bytes.
    #[must_use]
    pub fn memory(self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .unwrap();
        let kib = line.trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() * 1024
    }

    /// Whether the kernel has stopped it together with its control group, or one above that.
    #[must_use]
    pub fn frozen(self) -> bool {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default();
        let frozen = |line: &str| {
            let (kind, path) = line.split_once(':')?.1.split_once(':')?;
            let path = path.trim_start_matches('/');
            match kind {
                "freezer" => contains("/sys/fs/cgroup/freezer", path, "freezer.state", "FROZEN"),
                "" => contains("/sys/fs/cgroup", path, "cgroup.events", "frozen 1"),
                _ => None,
            }
        };
        groups.lines().filter_map(frozen).any(|frozen| frozen)
    }

    /// Everything below it, nearest first.
    #[must_use]
    pub fn descendants(self) -> Vec<Process> {
        let all: Vec<(Process, i32)> = numbers(Path::new("/proc"))
            .filter_map(|pid| Some((Process::of(pid)?, parent(pid)?)))
            .collect();
        let mut found = vec![self];
        let mut next = 0;
        while let Some(above) = found.get(next).copied() {
            let below = all.iter().filter(|(_, parent)| *parent == above.pid);
            found.extend(below.map(|(process, _)| *process));
            next += 1;
        }
        found.remove(0);
        found
    }
}

/// Whether a control group's file has this line; `None` without such a file.
fn contains(mount: &str, group: &str, file: &str, line: &str) -> Option<bool> {
    let text = fs::read_to_string(Path::new(mount).join(group).join(file)).ok()?;
    Some(text.lines().any(|of| of == line))
}

/// State, parent and the field of the start, from `/proc/<pid>/stat`.
fn stat(pid: i32) -> Option<[String; 3]> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also a parenthesis.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |at: usize| fields.get(at).map(|text| (*text).to_owned());
    Some([field(0)?, field(1)?, field(19)?])
}

fn parent(pid: i32) -> Option<i32> {
    stat(pid)?[1].parse().ok()
}

fn numbers(directory: &Path) -> impl Iterator<Item = i32> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A sandbox, from outside.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Its name.
    pub id: String,
    /// The guest, which is process 1 inside.
    pub guest: Process,
}

impl Sandbox {
    /// Those of a data directory that have a first process.
    #[must_use]
    pub fn all(data: &Path) -> Vec<Sandbox> {
        let entries = fs::read_dir(data.join("sandboxes"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter_map(|entry| Sandbox::at(entry.path()))
            .collect()
    }

    fn at(directory: PathBuf) -> Option<Sandbox> {
        let text = fs::read(directory.join("made.json")).ok()?;
        let made: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let guest = Process::of(made["pid"].as_i64()?.try_into().ok()?)?;
        let id = directory.file_name()?.to_str()?.to_owned();
        Some(Sandbox { id, guest })
    }

    /// The claude in it, once it runs.
    pub async fn claude(&self) -> Process {
        self.find("claude", |arguments| arguments[0] == "/opt/hostel/claude")
            .await
    }

    /// The claude that works in this directory, once it runs.
    pub async fn claude_at(&self, directory: &str) -> Process {
        let claude = |process: &Process| process.arguments()[0] == "/opt/hostel/claude";
        until(&format!("claude at {directory}"), || {
            let mut below = self.guest.descendants().into_iter();
            below.find(|process| claude(process) && process.directory() == Path::new(directory))
        })
        .await
    }

    /// A file in it, as this machine sees it.
    #[must_use]
    pub fn file(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.guest.pid))
    }

    /// The process in it whose arguments are exactly these words, once it runs.
    pub async fn running(&self, command: &str) -> Process {
        self.find(command, |arguments| arguments.join(" ") == command)
            .await
    }

    async fn find(&self, what: &str, is: impl Fn(&[String]) -> bool) -> Process {
        let look = || {
            let mut below = self.guest.descendants().into_iter();
            below.find(|process| is(&process.arguments()))
        };
        until(&format!("{what} in the sandbox"), look).await
    }
}
