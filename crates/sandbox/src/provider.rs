//! The provider seam: what makes sandboxes, and what it promises.
//!
//! A provider starts our guest as the first process of an isolated place and hands back one
//! duplex byte stream to it, nothing more. It never speaks the guest's protocol, never keeps
//! state that matters beyond its sandboxes, and never decides that one should go.
//!
//! ```text
//!   (absent) --create--> Running --guest or host dies--> Dead
//!       ^                   |                             |
//!       +------destroy------+-----------destroy-----------+     (HalfMade --destroy--> absent)
//! ```
//!
//! # How to add a provider
//!
//! 1. Make `src/<name>.rs` (and `src/<name>/`), with a `Config`, a `probe` that really tries
//!    whether this host can do it and says why not, and a type that implements [`Provider`].
//! 2. `create` gives the guest (`crate::GUEST`) one byte stream as its descriptor 0 and waits
//!    for nothing else. When it fails, or its future is dropped, what it made so far stays
//!    visible to `list` and removable by `destroy`.
//! 3. `list` looks at the backend (processes, directories, labels), never at a list of its own
//!    in memory: after a `kill -9` of the server it must see what was left behind.
//! 4. `destroy` may be called at any time, twice, for what never existed. It returns when
//!    nothing is left: no process, mount, control group, file.
//!    Frozen sandboxes too.
//! 5. Freezing, groups and what goes with them may be left at what the trait has: a refusal.
//!    Say so in [`Abilities`].
//! 6. Never give less than was asked: refuse, or name it in [`Description::lost`]. Isolation is
//!    never named as lost: a level that cannot be had is refused.
//! 7. Run the conformance suite (`tests/`) against it.

use std::{borrow::Cow, fmt, io, path::PathBuf, str::FromStr};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

mod group;
mod isolation;
mod kernel_error;

pub use group::{Footprint, Footprints, GroupLimits, Reclaimed};
pub use isolation::{Isolation, Levels, TooWeak};

/// Makes, lists and destroys sandboxes. See the module head for the contract.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What the sandboxes of this provider can do and how well they isolate.
    fn abilities(&self) -> Abilities;

    /// Makes a sandbox with the guest started and its stream connected. Nothing is negotiated
    /// on the stream yet.
    async fn create(&self, spec: &Spec) -> Result<Sandbox, ProviderError>;

    /// Everything of ours that exists in any form: running, dead, half made.
    async fn list(&self) -> Result<Vec<Observed>, ProviderError>;

    /// Which limits the sandbox has hit so far. Valid until it is destroyed.
    async fn limits(&self, id: &SandboxId) -> Result<LimitHits, ProviderError>;

    /// Removes the sandbox with everything in it. Absent is success. A frozen one dies as it is.
    async fn destroy(&self, id: &SandboxId) -> Result<(), ProviderError>;

    /// Stops every process of the sandbox where it is, or of one group in it, and returns when
    /// the last one has stopped. Frozen already is success; what cannot be frozen in time is an
    /// error, and goes on as before.
    ///
    /// The guest is frozen with all others: it answers nothing, notices nothing, not even the end
    /// of its link, and lives until it is destroyed or thawed.
    async fn freeze(&self, id: &SandboxId, group: Option<&str>) -> Result<(), ProviderError> {
        let _ = (id, group);
        Err(ProviderError::CANNOT_FREEZE)
    }

    /// Lets go on what was frozen. Not frozen is success. A group that was frozen by itself is
    /// thawed by itself, and one in a frozen sandbox waits for that.
    async fn thaw(&self, id: &SandboxId, group: Option<&str>) -> Result<(), ProviderError> {
        let _ = (id, group);
        Err(ProviderError::CANNOT_FREEZE)
    }

    /// Asks the host to move a sandbox's memory to swap, where there is any. Meant for a frozen
    /// sandbox: one that runs takes it back at once. Takes up to a second for each gigabyte.
    async fn reclaim(&self, id: &SandboxId) -> Result<Reclaimed, ProviderError> {
        let _ = id;
        Err(ProviderError::CANNOT_FREEZE)
    }

    /// Lets the sandbox have the processor only when nobody else wants it, or gives it its share
    /// back. Its limit stays.
    async fn yield_to_others(&self, id: &SandboxId, yields: bool) -> Result<(), ProviderError> {
        let _ = (id, yields);
        Err(ProviderError::CANNOT_YIELD)
    }

    /// Sets the sandbox's limit of the processor, in thousandths of one, or lifts it: what the server
    /// itself asks a guest to do should not wait for what a session may use.
    async fn limit_processor(
        &self,
        id: &SandboxId,
        millis: Option<u32>,
    ) -> Result<(), ProviderError> {
        let _ = (id, millis);
        Err(ProviderError::CANNOT_YIELD)
    }

    /// What the sandbox and each group in it take, by the kernel's count: a few small files are
    /// read, the guest is not asked.
    async fn footprints(&self, id: &SandboxId) -> Result<Footprints, ProviderError> {
        let _ = id;
        Err(ProviderError::CANNOT_COUNT)
    }

    /// Makes a group in the sandbox, for processes that belong together, or gives one that exists
    /// new limits. The name follows the rules of a [`SandboxId`].
    async fn group(
        &self,
        id: &SandboxId,
        name: &str,
        limits: GroupLimits,
    ) -> Result<(), ProviderError> {
        let _ = (id, name, limits);
        Err(ProviderError::CANNOT_GROUP)
    }

    /// Moves a process into a group, with all its descendants so far; whoever is born to it later
    /// is born there. `pid` is its number inside the sandbox.
    async fn join(&self, id: &SandboxId, name: &str, pid: u32) -> Result<(), ProviderError> {
        let _ = (id, name, pid);
        Err(ProviderError::CANNOT_GROUP)
    }

    /// Which limits the group has hit so far. [`Provider::limits`] counts them, too, as long as
    /// the group exists.
    ///
    /// A group whose memory is used up is killed as a whole where the kernel can (control groups
    /// of version 2); elsewhere it loses one process, mostly the largest, and the rest is for
    /// [`Provider::kill_group`].
    async fn group_limits(&self, id: &SandboxId, name: &str) -> Result<LimitHits, ProviderError> {
        let _ = (id, name);
        Err(ProviderError::CANNOT_GROUP)
    }

    /// Kills all processes of a group, frozen or not, and removes it; the rest of the sandbox
    /// stays as it is, frozen or not. A group that does not exist is success.
    async fn kill_group(&self, id: &SandboxId, name: &str) -> Result<(), ProviderError> {
        let _ = (id, name);
        Err(ProviderError::CANNOT_GROUP)
    }
}

/// The stream to a guest: bytes both ways, ordered and reliable. It ends when the guest ends.
pub type GuestStream = Box<dyn Link>;

/// Anything that can carry the link.
pub trait Link: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}

/// The name of a sandbox, chosen by the caller: 1 to 64 of `a-z`, `0-9` and `-`, beginning and
/// ending with a letter or digit, so that it is safe as a file and control group name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

/// Why a text is not a sandbox id.
#[derive(Debug, thiserror::Error)]
#[error("a sandbox id is 1 to 64 of a-z, 0-9 and -, beginning and ending with a letter or digit")]
pub struct SandboxIdError;

/// What to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Must not be in use; see [`ProviderError::InUse`].
    pub id: SandboxId,
    /// What the processes inside see as `/`.
    pub rootfs: Rootfs,
    /// The limits.
    pub resources: Resources,
    /// Host files and directories shown inside, read-only.
    pub read_only: Vec<Mount>,
    /// Whom programs inside shall trust when they speak TLS. The sandbox cannot change it. Long, so it
    /// is not part of the form that is written down.
    #[serde(skip)]
    pub trusted: Option<Trusted>,
    /// The name the sandbox believes its machine has.
    pub hostname: String,
    /// Several sessions will share it, each with a user of its own that the guest starts its
    /// processes as. Then the places that are written to belong to nobody in particular: each
    /// session is given directories in them. A host or runtime that cannot keep users apart
    /// refuses. The ids are [`MEMBER_IDS`] and [`MEMBERS_GROUP`].
    pub members: bool,
    /// The least that must stand between it and the host; `None` takes the usual level.
    pub isolation: Option<Isolation>,
}

/// Whom programs inside shall trust, in PEM but for Java.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// All of them: shown read-only at [`TRUSTED`], and in place of the root's own lists where it has
    /// them.
    pub all: String,
    /// Those that a program does not know by itself: shown read-only at [`TRUSTED_OWN`]. Programs that
    /// bring a list of their own read this at each start, so it is short.
    pub own: String,
    /// The same as `all` as a key store of Java's: shown read-only at [`TRUSTED_JAVA`], and in place
    /// of the root's own where it has one.
    pub java: Vec<u8>,
}

/// Where [`Trusted::all`] is shown.
pub const TRUSTED: &str = "/opt/hostel/trusted.pem";

/// Where [`Trusted::own`] is shown.
pub const TRUSTED_OWN: &str = "/opt/hostel/authority.pem";

/// Where [`Trusted::java`] is shown.
pub const TRUSTED_JAVA: &str = "/opt/hostel/trusted.jks";

/// The user ids of members, each with a group of the same number. These have names in the
/// sandbox, because many programs ask for one.
pub const MEMBER_IDS: std::ops::Range<u32> = 2000..4000;

/// The group that all members of a sandbox are in, for what they share.
pub const MEMBERS_GROUP: u32 = 1999;

/// A root file system. It is never written to: what is writable is a disk of the sandbox's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// The programs of this machine (`/usr` and a few harmless files of `/etc`), nothing else.
    Host,
    /// A directory on the host that looks like a root directory.
    Directory(PathBuf),
    /// A tar file on the host, unpacked once and shared by all sandboxes that name it.
    Tarball(PathBuf),
}

/// The limits of one sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes of memory, page cache included, swap not allowed.
    pub memory_bytes: u64,
    /// Thousandths of one processor.
    pub cpu_millis: u32,
    /// Processes and threads at one time.
    pub pids: u32,
    /// Bytes that files may take in all writable places together.
    pub disk_bytes: u64,
}

impl Default for Resources {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            memory_bytes: GIB,
            cpu_millis: 1000,
            pids: 512,
            disk_bytes: 5 * GIB,
        }
    }
}

/// A host path shown inside a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path on the host: a file or a directory.
    pub source: PathBuf,
    /// Absolute path inside, below `/opt/hostel`.
    pub target: PathBuf,
}

/// A sandbox that was just made.
pub struct Sandbox {
    /// The name it was asked for with.
    pub id: SandboxId,
    /// The link to its guest.
    pub stream: GuestStream,
    /// What was obtained.
    pub description: Description,
}

/// What a sandbox is made of, to be shown to the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The provider's name: `oci`.
    pub provider: Cow<'static, str>,
    /// The runtime with its version, for example `embedded libcontainer 0.7` or `runc 1.1.5`.
    pub runtime: String,
    /// What stands between the sandbox and the host.
    pub isolation: Isolation,
    /// What this host could not give, one sentence each.
    pub lost: Vec<String>,
    /// How the disk limit is kept.
    pub disk: DiskLimit,
}

/// How the disk limit of a sandbox is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskLimit {
    /// A sparse file holding an ext4 file system.
    LoopExt4,
    /// A file system in memory: what is written counts as the sandbox's memory.
    Tmpfs,
}

/// What a provider's sandboxes can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// The provider's name.
    pub provider: Cow<'static, str>,
    /// The runtime with its version.
    pub runtime: String,
    /// What can stand between its sandboxes and the host.
    pub levels: Levels,
    /// What this host cannot give, one sentence each.
    pub lost: Vec<String>,
    /// Whether memory, cpu and process limits are kept by the kernel.
    pub limits: bool,
    /// Whether sandboxes can be frozen and measured from outside.
    pub freezes: bool,
    /// Whether a sandbox can be divided into groups.
    pub groups: bool,
}

/// A sandbox that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Its name.
    pub id: SandboxId,
    /// Its state.
    pub phase: Phase,
}

/// The state of a sandbox, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Its first process lives.
    Running,
    /// It was made, and its first process has ended.
    Dead,
    /// Its making was cut short, or is under way.
    HalfMade,
}

/// How often a sandbox ran into its limits, counted by the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitHits {
    /// Processes killed because the sandbox's memory was used up.
    pub oom_kills: u64,
    /// Processes or threads refused because there were too many.
    pub pids_refused: u64,
}

/// Why a provider could not do as told.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ProviderError {
    /// A sandbox of this name exists, in whatever state; destroy it first.
    #[error("sandbox {id} exists already")]
    InUse {
        /// The name.
        id: SandboxId,
    },
    /// No sandbox of this name.
    #[error("sandbox {id} does not exist")]
    Absent {
        /// The name.
        id: SandboxId,
    },
    /// The specification asks for what cannot be.
    #[error("the sandbox's {field} cannot be used: {reason}")]
    Spec {
        /// Which part of the [`Spec`].
        field: Cow<'static, str>,
        /// What is wrong with it, in words.
        reason: String,
    },
    /// This host cannot isolate the sandbox as well as was asked for.
    #[error(transparent)]
    Isolation(#[from] TooWeak),
    /// The sandbox has no group of this name.
    #[error("sandbox {id} has no group {name}")]
    NoGroup {
        /// The sandbox.
        id: SandboxId,
        /// The name.
        name: String,
    },
    /// The sandbox has no process of this number.
    #[error("sandbox {id} has no process {pid}")]
    NoProcess {
        /// The sandbox.
        id: SandboxId,
        /// The number, as seen inside.
        pid: u32,
    },
    /// This provider, or this host, cannot do it at all.
    #[error("sandboxes cannot be {what} here: {reason}")]
    Unable {
        /// What was asked for, as in "frozen".
        what: Cow<'static, str>,
        /// Why not.
        reason: Cow<'static, str>,
    },
    /// All places for sandboxes are taken.
    #[error("no room for another sandbox: {limit} exist")]
    Full {
        /// How many there can be.
        limit: u32,
    },
    /// The host refused a step.
    #[error("cannot {step}")]
    Host {
        /// The step, as in "cannot copy the disk image".
        step: String,
        /// What the kernel said.
        #[source]
        #[serde(with = "kernel_error")]
        source: io::Error,
    },
    /// The runtime could not make the container.
    #[error("{runtime} could not make the container: {reason}")]
    Runtime {
        /// Which runtime.
        runtime: String,
        /// What it said, with causes.
        reason: String,
    },
    /// A step took longer than it may.
    #[error("{step} took longer than {seconds} seconds")]
    TimedOut {
        /// The step, as in "making the container".
        step: Cow<'static, str>,
        /// The bound.
        seconds: u64,
    },
}

impl ProviderError {
    const CANNOT_FREEZE: Self = Self::unable("frozen");
    const CANNOT_YIELD: Self = Self::unable("given more or less of the processor");
    const CANNOT_COUNT: Self = Self::unable("measured from outside");
    const CANNOT_GROUP: Self = Self::unable("divided into groups");

    const fn unable(what: &'static str) -> Self {
        Self::Unable {
            what: Cow::Borrowed(what),
            reason: Cow::Borrowed("the provider has no means for it"),
        }
    }
}

impl SandboxId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SandboxId {
    type Err = SandboxIdError;

    fn from_str(text: &str) -> Result<Self, SandboxIdError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(inner);
        let edges = !text.starts_with('-') && !text.ends_with('-');
        (fits && edges)
            .then(|| Self(text.to_owned()))
            .ok_or(SandboxIdError)
    }
}

impl TryFrom<String> for SandboxId {
    type Error = SandboxIdError;

    fn try_from(text: String) -> Result<Self, SandboxIdError> {
        text.parse()
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> Self {
        id.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for SandboxId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_safe_names_are_accepted() {
        for text in ["a", "sbx-01", &"z".repeat(64)] {
            assert_eq!(text.parse::<SandboxId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn ids_that_could_mean_another_place_are_refused() {
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "A",
            "-a",
            "a-",
            "a_b",
            "a\n",
            "é",
            &"z".repeat(65),
        ] {
            assert!(text.parse::<SandboxId>().is_err(), "{text:?} was accepted");
        }
    }
}
