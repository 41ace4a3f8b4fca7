//! Root directories: the skeleton that shows the host's programs, and unpacked tar files.
//!
//! A skeleton holds directories, links and a few files of `/etc`; programs come by a mount of
//! `/usr`. It is made once and shared read-only by all sandboxes.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{names, request::Bind};

/// Directories that on most hosts are links into `/usr`, and elsewhere are shown as they are.
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];

/// Mount points and directories programs expect. Whatever is not mounted over stays empty.
const DIRECTORIES: [&str; 12] = [
    "usr",
    "proc",
    "dev",
    "tmp",
    "workspace",
    "home/agent",
    "mnt/session",
    "opt/hostel",
    "run",
    "var",
    "etc",
    "sys",
];

/// Files of `/etc` that programs need and that tell nothing: caches of the loader, trust
/// anchors, names of types. Links are followed by their content, directories taken whole.
const HARMLESS: [&str; 15] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "os-release",
    "pki/tls/certs",
    "profile",
    "protocols",
    "services",
];

/// Where hosts keep trust anchors; their private keys lie beside and are not taken.
const CERTIFICATES: [&str; 3] = ["ssl/certs", "ssl/openssl.cnf", "pki/ca-trust/extracted/pem"];

/// Files that say who and where one is, written by us.
pub(super) const WRITTEN: [(&str, &str); 7] = [
    (
        "passwd",
        "root:x:0:0:root:/:/usr/sbin/nologin\nagent:x:1000:1000:agent:/home/agent:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    ),
    (
        "group",
        "root:x:0:\ntty:x:5:\nagent:x:1000:\nnogroup:x:65534:\n",
    ),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
    ),
    // Where the guest answers (`guest/src/transparent.rs`), for whoever asks by itself.
    ("resolv.conf", "nameserver 127.64.0.1\n"),
    ("hostname", "sandbox\n"),
    ("shells", "/bin/sh\n/bin/bash\n"),
];

/// Part of every directory's name: raise it when the content changes.
pub(super) const GENERATION: &str = "2";

/// Bytes and entries of one file taken from `/etc`: more is not what we think it is.
const LARGEST: u64 = 16 << 20;

/// Why there is no root directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub(super) struct RootfsError {
    step: String,
    #[source]
    source: io::Error,
}

type Result<T> = std::result::Result<T, RootfsError>;

/// A root ready to be mounted.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// Topmost first.
    pub layers: Vec<PathBuf>,
    /// Host directories shown in it, read-only.
    pub binds: Vec<Bind>,
}

/// The root that shows the host's programs, made in `directory`. It is made anew by every
/// server, since the host may have changed; older ones are left to the sandboxes that use them
/// and removed by [`prune`].
pub(super) fn host(directory: &Path, name: &str) -> Result<Root> {
    let root = directory.join(name);
    let _ = fs::remove_dir_all(&root);
    skeleton(&root).or_step(|| "make the root directory".into())?;
    let mut binds = vec![bind("/usr")];
    for name in MERGED {
        let host = Path::new("/").join(name);
        match fs::symlink_metadata(&host) {
            Ok(found) if found.is_symlink() => fs::read_link(&host)
                .and_then(|target| symlink(target, root.join(name)))
                .or_step(|| format!("copy the link {}", host.display()))?,
            Ok(found) if found.is_dir() => {
                fs::create_dir(root.join(name)).or_step(|| format!("make {}", host.display()))?;
                binds.push(bind(&host));
            }
            _ => {}
        }
    }
    binds.extend(mounts_below_usr().into_iter().map(bind));
    etc(&root.join("etc")).or_step(|| "copy harmless files of /etc".into())?;
    Ok(Root {
        layers: vec![root],
        binds,
    })
}

/// The layer laid over a foreign root, so that our mount points exist in it.
pub(super) fn mount_points(directory: &Path) -> Result<PathBuf> {
    let root = directory.join(format!("points-{GENERATION}"));
    if !root.exists() {
        let work = directory.join(format!("new-points-{}", std::process::id()));
        let _ = fs::remove_dir_all(&work);
        skeleton(&work)
            .and_then(|()| {
                WRITTEN
                    .iter()
                    .try_for_each(|(name, text)| fs::write(work.join("etc").join(name), text))
            })
            .or_step(|| "make the mount points".into())?;
        settle(&work, &root).or_step(|| "put the mount points in place".into())?;
    }
    Ok(root)
}

/// Unpacks a tar file once, named by its content.
pub(super) fn tarball(directory: &Path, path: &Path) -> Result<PathBuf> {
    let digest = digest(path).or_step(|| format!("read {}", path.display()))?;
    let root = directory.join(format!("tar-{GENERATION}-{digest}"));
    if root.exists() {
        return Ok(root);
    }
    let work = directory.join(format!("new-{digest}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    let unpacked = unpack(path, &work).and_then(|()| settle(&work, &root));
    if unpacked.is_err() {
        let _ = fs::remove_dir_all(&work);
    }
    unpacked
        .or_step(|| format!("unpack {}", path.display()))
        .map(|()| root)
}

/// Removes roots that a killed server left half made.
pub(super) fn prune(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("new-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn bind(path: impl AsRef<Path>) -> Bind {
    Bind {
        source: path.as_ref().into(),
        target: path.as_ref().into(),
    }
}

fn skeleton(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    for name in DIRECTORIES {
        fs::create_dir_all(root.join(name))?;
    }
    symlink("/tmp", root.join("var/tmp"))?;
    // The umask of the server must not decide who can walk through the root.
    open_up(root)
}

pub(super) fn open_up(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// Another process may have been quicker: then its result is as good as ours.
pub(super) fn settle(work: &Path, root: &Path) -> io::Result<()> {
    match fs::rename(work, root) {
        Err(_) if root.exists() => fs::remove_dir_all(work),
        renamed => renamed,
    }
}

fn mounts_below_usr() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| point.starts_with("/usr/") && !point.contains('\\'))
        .map(PathBuf::from)
        .collect();
    points.into_iter().collect()
}

fn etc(target: &Path) -> io::Result<()> {
    let host = Path::new("/etc");
    let java = names(host).into_iter().filter(|name| is_of_java(name));
    let known = HARMLESS
        .iter()
        .chain(&CERTIFICATES)
        .map(|&name| name.into());
    for name in known.chain(java) {
        let _ = copy_harmless(&host.join(&name), &target.join(&name));
    }
    for (name, text) in WRITTEN {
        fs::write(target.join(name), text)?;
    }
    open_up(target)
}

/// Settings without which Debian's Java does not start, one directory for each version.
fn is_of_java(name: &str) -> bool {
    name.starts_with("java-") && name.ends_with("-openjdk")
}

/// Copies what others may read anyway; a link into `/usr` or `/etc` stays one.
fn copy_harmless(from: &Path, to: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let public = found.permissions().mode() & 0o004 != 0;
    if found.is_symlink() {
        symlink(fs::read_link(from)?, to)
    } else if found.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)?.flatten() {
            let _ = copy_harmless(&entry.path(), &to.join(entry.file_name()));
        }
        Ok(())
    } else if found.is_file() && public && found.len() <= LARGEST {
        fs::copy(from, to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o644))
    } else {
        Ok(())
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => {
                return Ok(hash
                    .finalize()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect());
            }
            length => hash.update(&buffer[..length]),
        }
    }
}

/// Everything lands below `root`: the tar crate refuses `..` and never writes through a link
/// that leads outside. Devices are left out, and nothing stays set-user-id.
fn unpack(path: &Path, root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let mut archive = tar::Archive::new(File::open(path)?);
    archive.set_preserve_ownerships(false);
    archive.set_unpack_xattrs(false);
    archive.set_preserve_permissions(true);
    archive.set_mask(0o7022);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        let plain = kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link();
        let outside = entry
            .path()?
            .components()
            .any(|part| part == Component::ParentDir);
        if outside {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an entry leads outside",
            ));
        }
        if plain {
            entry.unpack_in(root)?;
        }
    }
    Ok(())
}

trait OrStep<T> {
    fn or_step(self, step: impl FnOnce() -> String) -> Result<T>;
}

impl<T> OrStep<T> for io::Result<T> {
    fn or_step(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| RootfsError {
            step: step(),
            source,
        })
    }
}
