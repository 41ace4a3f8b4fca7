//! The level `process`: a sandbox without an OCI runtime.
//!
//! The helper makes the namespaces and starts itself once more as their first process, which
//! builds the rest around itself and becomes the guest:
//!
//! ```text
//! helper ──new pid, ipc, uts, cgroup──▶ first process: mounts, limits
//!    ◀──────────── "in a user namespace now" ───────┤
//!    ├── maps the ids ───────── "go on" ───────────▶│ becomes the user, drops everything
//!    ◀──────────── (end of the stream) ─────────────┴▶ the guest
//! ```
//!
//! All namespaces but the last belong to the host's user namespace, so not even a root of the
//! sandbox could do anything to them. Landlock, the other half of this level, is put on by the
//! guest.

use std::{
    convert::Infallible,
    error::Error,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::symlink, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        prctl::set_no_new_privs,
        resource::setrlimit,
        stat::{Mode, umask},
    },
    unistd::{
        Gid, Uid, chdir, close, dup, dup2, getegid, pivot_root, setgroups, setresgid, setresuid,
        setsid,
    },
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::{
    HELPER_COMMAND,
    bundle::{self, IDS},
    helper::chain,
    request::{GUEST, Ids, Request, TOOLS},
    rlimits,
    stage::{OrStep, Stage, StageError, mount_new},
};

/// The first argument of the helper that is to become the first process.
pub(super) const ROLE: &str = "inside";

/// Devices that do nothing to anybody.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Where programs look for their own descriptors and terminals.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What the first process keeps where several members share the sandbox; see `bundle.rs`.
const FOR_MEMBERS: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::SETPCAP);

/// Any failure: its text goes to the helper.
type Failure = Box<dyn Error>;

/// Makes the namespaces and the first process in them, and waits until that has become the guest.
/// `path` is the request's, for the argument list.
pub(super) fn make(request: &Request, stage: &Stage, path: &Path) -> Result<i32, Failure> {
    let copy = stage.bundle.join("request.json");
    fs::write(&copy, serde_json::to_vec(request)?)?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let new = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(new).or_step(|| "make namespaces")?;
    // What the guest finds as its standard output; the child's own is the stream to us.
    let output = dup(1)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(HELPER_COMMAND)
        .arg(ROLE)
        .args([&copy, &stage.root])
        .arg(output.to_string())
        .arg(path)
        // Naming a group, our own, keeps the library from a way of starting processes that kernels
        // before 6.0 refuse to whoever has a new time namespace for its children.
        .gid(getegid().as_raw())
        .stdout(Stdio::from(OwnedFd::from(theirs)));
    let child = command.spawn()?;
    // It holds the other ends.
    close(output)?;
    drop(command);
    if let Ids::Range(base) = request.ids {
        let mut ready = [0];
        if ours.read(&mut ready)? == 1 && ready == *READY {
            map_ids(child.id(), base).or_step(|| "map the sandbox's ids")?;
            ours.write_all(READY)?;
        } else {
            let said = rest_of(&mut ours, &ready)?;
            return Err(format!("the first process ended: {said}").into());
        }
    }
    let said = rest_of(&mut ours, &[])?;
    match said.is_empty() {
        true => Ok(child.id().try_into()?),
        false => Err(said.into()),
    }
}

/// What either side says when it is the other's turn. No error begins with it.
const READY: &[u8; 1] = b"\0";

/// Everything that the first process has to say: nothing when it has become the guest.
fn rest_of(stream: &mut UnixStream, begun: &[u8]) -> io::Result<String> {
    let mut said = begun.to_vec();
    stream.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).trim_matches('\0').to_owned())
}

fn map_ids(pid: u32, base: u32) -> io::Result<()> {
    for file in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{file}"), format!("0 {base} {IDS}"))?;
    }
    Ok(())
}

/// The first process: becomes the guest, or says why it cannot.
pub(super) fn inside(arguments: &[OsString]) -> ExitCode {
    let output = arguments.get(2).and_then(|fd| fd.to_str()?.parse().ok());
    let helper = close_strangers(output).and_then(|()| take_stream(output.unwrap_or(2)));
    let mut helper = match helper {
        Ok(helper) => helper,
        Err(_) => return ExitCode::FAILURE,
    };
    let Err(error) = become_guest(arguments, &mut helper);
    let _ = helper.write_all(chain(error.as_ref()).as_bytes());
    ExitCode::FAILURE
}

/// Closes whatever the server's own parent left open besides 0, 1, 2 and what the guest's output
/// shall be. Nothing of ours is open yet.
fn close_strangers(output: Option<i32>) -> io::Result<()> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2 && Some(*descriptor) != output)
        .collect();
    for descriptor in open {
        // The one that listed them is closed already.
        let _ = close(descriptor);
    }
    Ok(())
}

/// Moves the stream to the helper to a descriptor that the guest does not inherit, and puts the
/// guest's output in its place.
fn take_stream(output: i32) -> io::Result<UnixStream> {
    let stream: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    dup2(output, 1)?;
    if output > 2 {
        close(output)?;
    }
    Ok(stream.into())
}

fn become_guest(arguments: &[OsString], helper: &mut UnixStream) -> Result<Infallible, Failure> {
    let [request, root, ..] = arguments else {
        return Err("this is started by the helper".into());
    };
    let request: Request = serde_json::from_slice(&fs::read(request)?)?;
    setsid()?;
    fs::write("/proc/self/oom_score_adj", bundle::OOM_SCORE.to_string())
        .or_step(|| "volunteer for the lack of memory")?;
    build(&request, Path::new(root))?;
    rustix::system::sethostname(request.hostname.as_bytes()).or_step(|| "set the host's name")?;
    for limit in rlimits::of(&request) {
        setrlimit(limit.resource, limit.value, limit.value).or_step(|| limit.name)?;
    }
    umask(Mode::from_bits_truncate(0o022));
    if let Ids::Range(_) = request.ids {
        unshare(CloneFlags::CLONE_NEWUSER).or_step(|| "make a user namespace")?;
        helper.write_all(READY)?;
        helper.read_exact(&mut [0])?;
    }
    drop_privileges(&request).or_step(|| "drop privileges")?;
    chdir("/workspace").or_step(|| "enter /workspace")?;
    let (mut guest, home) = (
        Command::new(format!("{TOOLS}/{GUEST}")),
        bundle::home(&request),
    );
    if request.members {
        guest.arg("members");
    }
    let guest = guest
        .env_clear()
        .env("PATH", bundle::PATH)
        .env("HOME", home);
    Err(guest.exec().into())
}

/// Mounts what is the kernel's, hides what tells of the host, and makes all of it the root.
fn build(request: &Request, root: &Path) -> Result<(), StageError> {
    unshare(CloneFlags::CLONE_NEWNS).or_step(|| "make a mount namespace")?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let (mut proc, mut shm) = (String::new(), "mode=1777");
    if request.members {
        // The guest's group, as the host knows it: it sees everybody, and others themselves.
        proc = format!("hidepid=2,gid={}", request.owner());
        shm = "mode=1733";
    }
    let proc_flags = quiet | MsFlags::MS_NODEV;
    mount_new("proc", "proc", &root.join("proc"), proc_flags, &proc)?;
    let dev = root.join("dev");
    mount_new(
        "tmpfs",
        "tmpfs",
        &dev,
        quiet,
        "mode=755,size=64k,nr_inodes=64",
    )?;
    for name in DEVICES {
        let place = dev.join(name);
        File::create(&place).or_step(|| "make a place for a device")?;
        bind(&Path::new("/dev").join(name), &place)?;
    }
    for (name, target) in LINKS {
        symlink(target, dev.join(name)).or_step(|| "make a link in /dev")?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(dev.join(name)).or_step(|| "make a directory in /dev")?;
    }
    let pts = "newinstance,ptmxmode=0666,mode=0620";
    mount_new("devpts", "devpts", &dev.join("pts"), quiet, pts)?;
    let shm = format!("{shm},size=65536k");
    mount_new("tmpfs", "shm", &dev.join("shm"), proc_flags, &shm)?;
    hide(request, root)?;
    chdir(root).or_step(|| "enter the root")?;
    pivot_root(".", ".").or_step(|| "make the root ours")?;
    umount2(".", MntFlags::MNT_DETACH).or_step(|| "let go of the host's root")?;
    chdir("/").or_step(|| "enter the root")
}

fn hide(request: &Request, root: &Path) -> Result<(), StageError> {
    let inside = |path: &str| -> PathBuf { root.join(path.trim_start_matches('/')) };
    for path in bundle::masked(request) {
        let place = inside(path);
        if place.is_dir() {
            mount_new("tmpfs", "tmpfs", &place, MsFlags::MS_RDONLY, "size=0k")?;
        } else if place.exists() {
            bind(Path::new("/dev/null"), &place)?;
        }
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | flags;
    for path in bundle::READ_ONLY {
        let place = inside(path);
        if place.exists() {
            bind(&place, &place)?;
            mount(None::<&str>, &place, None::<&str>, read_only, None::<&str>)
                .or_step(|| format!("protect {path}"))?;
        }
    }
    Ok(())
}

fn bind(source: &Path, target: &Path) -> Result<(), StageError> {
    let flags = MsFlags::MS_BIND;
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .or_step(|| format!("show {} at {}", source.display(), target.display()))
}

/// Becomes the sandbox's user, without a capability now or by any program; but for members.
fn drop_privileges(request: &Request) -> io::Result<()> {
    let kept = match request.members {
        true => FOR_MEMBERS,
        false => CapabilitySet::empty(),
    };
    for capability in CapabilitySet::all().difference(kept).iter() {
        match remove_capability_from_bounding_set(capability) {
            // This kernel is older than the capability.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    clear_ambient_capability_set()?;
    let user = request.user();
    if !matches!(request.ids, Ids::Own) {
        setgroups(&[])?;
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)?;
    set_no_new_privs()?;
    Ok(())
}
