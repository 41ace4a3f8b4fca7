//! Builds a sandbox's root where only the helper and its container see it.
//!
//! Every mount is made in a mount namespace of the helper's own, below a small file system in
//! memory. Nothing is ever mounted where the host could see it, so nothing has to be
//! unmounted: when the container's last process is gone the kernel takes the namespace down,
//! whoever was killed before.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::{chdir, chroot, getegid, geteuid},
};

use super::{
    request::{Bind, Disk, Ids, Maker, Request, TOOLS},
    sys::attach_loop,
};

/// Directories that every Linux has and every user may enter. The stage is mounted over the
/// first that hides nothing we need: the data directory itself may be closed to the ids of
/// the sandbox, which have to walk to their root.
const PLACES: [&str; 8] = [
    "/mnt", "/media", "/srv", "/opt", "/run", "/tmp", "/var", "/home",
];

/// Bytes on the stage: mount points, one configuration, one state file.
const STAGE_OPTIONS: &str = "mode=0755,size=4m,nr_inodes=256";

/// Files and directories on a disk in memory: as many as ext4 would give 1 GiB.
const MEMORY_INODES: u32 = 65_536;

/// Where the control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Why the root could not be built.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub(super) struct StageError {
    step: String,
    #[source]
    source: io::Error,
}

type Result<T> = std::result::Result<T, StageError>;

/// A complete root, and places for the runtime's own files.
#[derive(Debug)]
pub(super) struct Stage {
    /// What becomes `/`.
    pub root: PathBuf,
    /// An empty directory for `config.json`.
    pub bundle: PathBuf,
    /// An empty directory for the embedded runtime's state.
    pub state: PathBuf,
    /// Holds the directories of the writable places, which are mounted in the root already.
    pub disk: PathBuf,
}

impl Stage {
    /// Leaves the host's mount namespace and builds the root.
    pub fn build(request: &Request) -> Result<Self> {
        leave_host(request.ids)?;
        let base = place(request)?;
        // The image is opened before the stage may hide anything.
        let device = match &request.disk {
            Disk::Image(image) => Some(attach_loop(image).or_step(|| "attach the disk image")?),
            Disk::Memory(_) => None,
        };
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount_new("tmpfs", "hostel", base, quiet, STAGE_OPTIONS)?;
        let [root, bundle, state, tools, disk] =
            ["root", "bundle", "state", "tools", "disk"].map(|name| base.join(name));
        for directory in [&root, &bundle, &state, &tools, &disk] {
            fs::create_dir(directory).or_step(|| "make a directory of the stage")?;
        }
        lay_root(&request.root, &root)?;
        for bind in &request.binds {
            bind_read_only(&bind.source, &below(&root, &bind.target))?;
        }
        for bind in &request.over {
            if let Some(file) = own_file(&root, &bind.target) {
                bind_read_only(&bind.source, &file)?;
            }
        }
        show_tools(&request.tools, &tools, &below(&root, Path::new(TOOLS)))?;
        match (&request.disk, &device) {
            (Disk::Memory(bytes), _) => {
                let options = format!("mode=0755,size={bytes},nr_inodes={MEMORY_INODES}");
                mount_new("tmpfs", "disk", &disk, quiet, &options)?;
            }
            // Nothing written here outlives the sandbox: neither flushes nor the background
            // initialisation of inode tables are of use.
            (Disk::Image(_), Some((_, path))) => {
                let flags = quiet | MsFlags::MS_NOATIME;
                let source = path.to_string_lossy();
                mount_new("ext4", &source, &disk, flags, "nobarrier,noinit_itable")?;
            }
            (Disk::Image(_), None) => {}
        }
        show_writable(&disk, &root, request)?;
        if matches!(request.ids, Ids::Own) {
            return shut_in(base);
        }
        Ok(Self {
            root,
            bundle,
            state,
            disk,
        })
    }
}

/// Makes the stage the helper's own root. Without being root on the host, mounts that came
/// along from it cannot be taken away, but from here they are out of sight, the control groups
/// in particular, which the embedded runtime would otherwise try to write to.
fn shut_in(base: &Path) -> Result<Stage> {
    for name in ["proc", "dev"] {
        let place = base.join(name);
        fs::create_dir(&place).or_step(|| "make a directory of the stage")?;
        let all = MsFlags::MS_BIND | MsFlags::MS_REC;
        let source = Path::new("/").join(name);
        mount(Some(&source), &place, None::<&str>, all, None::<&str>)
            .or_step(|| format!("take {} along", source.display()))?;
    }
    fs::create_dir_all(base.join("sys/fs/cgroup")).or_step(|| "make a directory of the stage")?;
    chroot(base)
        .and_then(|()| chdir("/"))
        .or_step(|| "enter the stage")?;
    let [root, bundle, state, disk] = ["/root", "/bundle", "/state", "/disk"].map(PathBuf::from);
    Ok(Stage {
        root,
        bundle,
        state,
        disk,
    })
}

/// Takes the control group file systems out of the helper's sight, so that the embedded
/// runtime, which looks at all of them a dozen times, finds none: its groups are ours.
pub(super) fn hide_cgroups() -> Result<()> {
    while umount2(CGROUPS, MntFlags::MNT_DETACH).is_ok() {}
    mount_new(
        "tmpfs",
        "none",
        Path::new(CGROUPS),
        MsFlags::MS_RDONLY,
        "size=4k",
    )
}

/// Takes the unified hierarchy out of sight for a runtime that refuses a hybrid layout.
pub(super) fn hide_unified() {
    let _ = umount2(&Path::new(CGROUPS).join("unified"), MntFlags::MNT_DETACH);
}

fn leave_host(ids: Ids) -> Result<()> {
    if matches!(ids, Ids::Own) {
        let (user, group) = (geteuid(), getegid());
        // The network namespace too: it shall be this user namespace's, whose root we are.
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .or_step(|| "make a user namespace, which the kernel has to allow (sysctl user.max_user_namespaces)")?;
        fs::write("/proc/self/setgroups", "deny").or_step(|| "give up supplementary groups")?;
        fs::write("/proc/self/uid_map", format!("0 {user} 1")).or_step(|| "map the user id")?;
        fs::write("/proc/self/gid_map", format!("0 {group} 1")).or_step(|| "map the group id")?;
    } else {
        unshare(CloneFlags::CLONE_NEWNS).or_step(|| "make a mount namespace")?;
    }
    let all = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, all, None::<&str>)
        .or_step(|| "keep mounts from spreading")
}

fn place(request: &Request) -> Result<&'static Path> {
    let image = match &request.disk {
        Disk::Image(path) => Some(path),
        Disk::Memory(_) => None,
    };
    let program = match &request.maker {
        Maker::Program { path, state, .. } => vec![path, state],
        Maker::Embedded | Maker::Process => Vec::new(),
    };
    let binds = request
        .binds
        .iter()
        .chain(&request.over)
        .chain(&request.tools)
        .map(|bind| &bind.source);
    let needed: Vec<_> = request
        .root
        .iter()
        .chain(image)
        .chain(program)
        .chain(binds)
        .collect();
    let free = |place: &&Path| place.is_dir() && !needed.iter().any(|path| path.starts_with(place));
    PLACES
        .into_iter()
        .map(Path::new)
        .find(free)
        .ok_or_else(|| StageError {
            step: format!("find a directory to build in: tried {}", PLACES.join(", ")),
            source: io::ErrorKind::NotFound.into(),
        })
}

/// One layer is shown as it is, several become one read-only overlay.
fn lay_root(layers: &[PathBuf], root: &Path) -> Result<()> {
    if let [layer] = layers {
        return bind_read_only(layer, root);
    }
    let names: Vec<_> = layers.iter().map(|layer| layer.to_string_lossy()).collect();
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_new(
        "overlay",
        "root",
        root,
        flags,
        &format!("lowerdir={}", names.join(":")),
    )
}

fn show_tools(tools: &[Bind], place: &Path, target: &Path) -> Result<()> {
    for tool in tools {
        let point = place.join(&tool.target);
        let parent = point.parent().unwrap_or(place);
        fs::create_dir_all(parent).or_step(|| "make a mount point")?;
        if tool.source.is_dir() {
            fs::create_dir_all(&point).or_step(|| "make a mount point")?;
        } else {
            fs::File::create(&point).or_step(|| "make a mount point")?;
        }
    }
    bind_read_only(place, target)?;
    tools
        .iter()
        .try_for_each(|tool| bind_read_only(&tool.source, &target.join(&tool.target)))
}

fn show_writable(disk: &Path, root: &Path, request: &Request) -> Result<()> {
    let owner = request.owner();
    for (name, path, mode) in request.writable() {
        let directory = disk.join(name);
        match fs::create_dir(&directory) {
            // An image brings its directories along, with the modes of a sandbox of one.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !request.members => {}
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).or_step(|| "make a writable directory");
            }
            _ => fs::set_permissions(&directory, fs::Permissions::from_mode(mode))
                .or_step(|| "open a writable directory")?,
        }
        chown(&directory, Some(owner), Some(owner)).or_step(|| "give the disk to the sandbox")?;
        let target = below(root, Path::new(path));
        // The disk is mounted without set-user-id and devices, which a bind inherits.
        mount(
            Some(&directory),
            &target,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .or_step(|| format!("mount {path}"))?;
    }
    Ok(())
}

/// The file at `path` of the root, if it is a file and no link is on the way: one could lead to a file
/// of the host.
fn own_file(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut place = root.to_owned();
    for part in path.strip_prefix("/").ok()? {
        place.push(part);
        if fs::symlink_metadata(&place).ok()?.is_symlink() {
            return None;
        }
    }
    place.is_file().then_some(place)
}

fn bind_read_only(source: &Path, target: &Path) -> Result<()> {
    let step = || format!("show {} at {}", source.display(), target.display());
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .or_step(step)?;
    let flags = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>).or_step(step)
}

/// Mounts a file system of the kernel's own, or of a device.
pub(super) fn mount_new(
    kind: &str,
    source: &str,
    target: &Path,
    flags: MsFlags,
    options: &str,
) -> Result<()> {
    mount(Some(source), target, Some(kind), flags, Some(options))
        .or_step(|| format!("mount {kind} at {}", target.display()))
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Adds what was being done to an error.
pub(super) trait OrStep<T> {
    fn or_step<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> OrStep<T> for std::result::Result<T, E> {
    fn or_step<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| StageError {
            step: step().into(),
            source: error.into(),
        })
    }
}
