//! What a stream can be opened for, and how the opened side answers.

use serde::{Deserialize, Serialize};

use crate::Stray;

/// The first message of a stream: what the stream is for.
///
/// The last four go from the guest to the host, all others from the host to the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "open", rename_all = "snake_case")]
pub enum Open {
    /// Agrees on a generation. Must be the first stream of a link; answered with
    /// [`Opened::Hello`], after which the stream is closed.
    Hello {
        /// The generations the host speaks.
        generations: Vec<u32>,
    },
    /// Starts a process. Answered with [`Opened::Ok`] when it runs; then [`crate::HostFrame`]s
    /// and [`crate::GuestFrame`]s flow until [`crate::GuestFrame::Exit`]. The end of the stream
    /// kills the process and everything below it.
    Spawn(ProcessSpec),
    /// Connects to a port of the sandbox's loopback; raw bytes follow both ways.
    Dial {
        /// The port on 127.0.0.1 inside.
        port: u16,
        /// Goes on only when this user's process listens there, by what the kernel says; only in
        /// a sandbox of several members, any of whom may have taken the port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// Listens on a port of the sandbox's loopback. Answered with [`Opened::Listening`]. Each
    /// connection becomes an [`Open::Accepted`] stream. The end of this stream stops listening.
    Listen {
        /// The port on 127.0.0.1 inside; 0 lets the guest choose.
        port: u16,
        /// Comes back with every accepted connection.
        tag: String,
        /// Takes connections of this user alone, by what the kernel says of them; only in a
        /// sandbox of several members. Connections of others are closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// Writes a tar archive below a directory. Answered with [`Opened::Ok`]; then the host sends
    /// [`crate::ArchiveFrame`]s up to `End`, and the guest answers with one `End` or `Failed`.
    ///
    /// Entries are confined below the directory: an absolute path, `..`, a path that passes
    /// through a symbolic link, and a device are refused, and setuid, setgid and sticky bits
    /// are dropped.
    Unpack {
        /// An absolute directory inside; made when it is missing.
        dir: String,
        /// Whose the files become, and whose permissions decide; see [`User`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<User>,
    },
    /// Reads files as a tar archive. Answered with [`Opened::Ok`]; then the guest sends
    /// [`crate::ArchiveFrame`]s up to `End` or `Failed`.
    Pack {
        /// What to take, relative to `base`; `.` takes everything.
        paths: Vec<String>,
        /// An absolute directory inside; names in the archive are relative to it.
        base: String,
        /// Whose permissions decide; see [`User`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<User>,
    },
    /// Makes a directory, with those on the way that are missing. Answered with [`Opened::Ok`],
    /// after which the stream is closed. One that is there becomes as asked.
    ///
    /// No symbolic link is followed, and a directory that belongs to neither the guest nor
    /// `owner` is refused. With the set-group-id bit it is one where a group works together:
    /// what is made below belongs to the group, which may do there what the directory's mode
    /// says, whatever the maker's umask.
    MakeDir {
        /// An absolute path inside.
        path: String,
        /// Permission bits, set-group-id and sticky.
        mode: u32,
        /// Whose it becomes; `None` for the guest's own. Only in a sandbox of several members.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<User>,
    },
    /// Removes a directory with everything below it. Answered with [`Opened::Ok`], after which the
    /// stream is closed. One that is not there is removed already.
    ///
    /// No symbolic link is followed. It is done as the guest itself, so where a sandbox has several
    /// members the directory may be any of theirs; whatever still writes there must have ended.
    RemoveDir {
        /// An absolute path inside.
        path: String,
    },
    /// Reads file trees. Answered with [`Opened::Ok`]; then the guest sends [`crate::TreeFrame`]s
    /// up to `End` or `Failed`.
    ///
    /// Everything below the roots comes, in the order of [`crate::order`], under the paths that
    /// it has from the root of the file system. What did not change since a time comes as
    /// [`crate::TreeFrame::Unchanged`]. Sockets, pipes and devices are left out, and so is what
    /// vanishes meanwhile, or lies deeper than 256 directories.
    Save {
        /// Absolute directories inside; one that is missing is an empty tree.
        roots: Vec<String>,
        /// What the last save or restore ended with; 0 for everything. A time that is not of
        /// this guest and these roots gives everything too.
        since_ns: i64,
        /// Whose permissions decide; see [`User`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<User>,
    },
    /// Makes file trees. Answered with [`Opened::Ok`]; then the host sends [`crate::TreeFrame`]s
    /// up to `End`, without `Unchanged`, and the guest answers with one `End` or `Failed`.
    ///
    /// What is below the roots and not in the tree stays. Entries are confined to the roots and
    /// reached without following symbolic links; set-user-id bits are dropped, and set-group-id
    /// ones of anything but directories.
    Restore {
        /// Absolute directories inside, made when they are missing. Entries elsewhere are refused.
        roots: Vec<String>,
        /// Whose everything becomes, and whose permissions decide; see [`User`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<User>,
    },
    /// Asks how the sandbox does. Answered with [`Opened::Stats`], after which the stream is
    /// closed.
    Stats,
    /// Opens the transparent way: programs that know no proxy ask for names and connect to what
    /// they stand for. Answered with [`Opened::Ok`]; from then on the guest opens [`Open::Name`],
    /// [`Open::Reach`] and [`Open::Strays`], until the end of this stream. Refused when it is open
    /// already or its port cannot be had.
    Transparent,
    /// From the guest to the host: somebody connected to a port that [`Open::Listen`] opened.
    /// Raw bytes follow both ways.
    Accepted {
        /// The tag of the [`Open::Listen`].
        tag: String,
    },
    /// From the guest to the host: somebody asks what a name stands for. Answered with
    /// [`Opened::Name`] when it may be reached, after which the stream is closed.
    Name {
        /// The name as it was asked for, with nothing but letters, digits, `-`, `_` and `.`.
        name: String,
        /// The type of record, by its number: 1 for addresses.
        kind: u16,
        /// Who asks, in a sandbox of several members; `None` where that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// From the guest to the host: somebody connected to what a name stands for. Raw bytes follow
    /// both ways.
    Reach {
        /// The name.
        name: String,
        /// The port.
        port: u16,
        /// Who connects, in a sandbox of several members; `None` where that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// From the guest to the host: what programs sent that went nowhere. Answered with
    /// [`Opened::Ok`], after which the stream is closed.
    Strays {
        /// What, at most [`crate::STRAYS_MAX`] of them.
        strays: Vec<Stray>,
        /// Packets beyond these.
        more: u64,
    },
}

/// A user of a sandbox that several members share.
///
/// There every process belongs to a member, and so does every archive: the guest itself could
/// reach all of them. In a sandbox of one, where everything is the guest's own user, naming one
/// is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user id inside, never 0 for a process.
    pub uid: u32,
    /// The group id inside, never 0 for a process.
    pub gid: u32,
    /// Further groups, never 0.
    #[serde(default)]
    pub groups: Vec<u32>,
}

/// The opened side's answer to an [`Open`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "opened", rename_all = "snake_case")]
pub enum Opened {
    /// Agreed; the stream's content follows.
    Ok,
    /// The answer to [`Open::Hello`].
    Hello(Hello),
    /// The answer to [`Open::Listen`].
    Listening {
        /// The port that is listened on.
        port: u16,
    },
    /// The answer to [`Open::Stats`].
    Stats(Stats),
    /// The answer to [`Open::Name`]: it may be reached.
    Name {
        /// On these ports.
        ports: Vec<u16>,
    },
    /// Not agreed; the stream ends.
    Err(Refusal),
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind, for programs.
    pub code: ErrorCode,
    /// The facts, for people.
    pub message: String,
}

impl Refusal {
    /// A refusal of a kind with its facts.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message could not be understood or makes no sense.
    BadRequest,
    /// The guest does not know this `open`; it is of an older generation.
    Unsupported,
    /// Something was asked before the hello.
    HelloFirst,
    /// The two sides speak no common generation.
    NoCommonGeneration,
    /// The program or file is not there.
    NotFound,
    /// The working or base directory is not there or is not a directory.
    BadDirectory,
    /// The program is there but may not or cannot be run.
    NotExecutable,
    /// The sandbox's user may not do this.
    Denied,
    /// Nothing listens on the port.
    ConnectionRefused,
    /// The port is taken.
    PortInUse,
    /// A bound on how many was reached.
    TooMany,
    /// An archive tried to leave its directory or to bring what it may not.
    Confined,
    /// The operating system refused for another reason.
    Failed,
    /// A code of a newer generation.
    #[serde(other)]
    Unknown,
}

/// What the guest says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The generation both sides speak from now on.
    pub generation: u32,
    /// The guest's version.
    pub version: String,
    /// The guest's process id in its own namespace: 1 in a sandbox.
    pub pid: u32,
    /// The user it runs as, and every process that names no other.
    pub uid: u32,
}

/// A process to start.
///
/// Its `Debug` shows the names of the environment variables only, because values may be secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// The program and its arguments. A program without `/` is looked up in the `PATH` of `env`;
    /// a relative one with `/` is relative to `cwd`.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited. The last of equal names counts.
    pub env: Vec<(String, String)>,
    /// The working directory; must exist.
    pub cwd: String,
    /// Gives the process a terminal of this size for stdin, stdout and stderr, all of whose
    /// output arrives as stdout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<WindowSize>,
    /// The member it belongs to, in a sandbox that several share: it runs as this user, with no
    /// capability, and its files are nobody else's (umask 077) unless a directory says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
}

impl std::fmt::Debug for ProcessSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ProcessSpec")
            .field("argv", &self.argv)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .field("terminal", &self.terminal)
            .field("user", &self.user)
            .finish()
    }
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub cols: u16,
}

/// How the sandbox does, seen from inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Processes alive, the guest's own included.
    pub processes: u64,
    /// Resident memory of all processes in bytes; shared pages count once per process.
    pub memory_bytes: u64,
    /// CPU time of all processes, living and reaped, in milliseconds.
    pub cpu_ms: u64,
    /// Bytes used on the workspace's file system.
    pub disk_used_bytes: u64,
    /// Size of the workspace's file system in bytes.
    pub disk_total_bytes: u64,
    /// Files and directories on the workspace's file system.
    pub files_used: u64,
    /// How many there can be; 0 where that is not limited.
    pub files_total: u64,
    /// Time since the guest started, in milliseconds.
    pub uptime_ms: u64,
    /// How long the guest took to confine itself at its start, in microseconds.
    pub confined_us: u64,
}
