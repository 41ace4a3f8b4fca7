//! Makes a sandbox: files first, then the helper, then the record.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt, unix::net::UnixStream as StdStream},
    path::{Component, Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    net::UnixStream,
    process::{Child, Command},
    sync::{OwnedMutexGuard, watch},
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    HELPER_COMMAND, blocking,
    cgroup::{self, CPU_PERIOD_US},
    destroy, disk, host, members,
    request::{Answer, Bind, Disk, GUEST, Limits, Made, Maker, Request, TOOLS},
    rootfs::{self, Root},
    shared::{Keeper, Shared},
    way::Way,
};
use crate::provider::{
    Description, DiskLimit, ProviderError, Rootfs, Sandbox, SandboxId, Spec, Trusted,
};

/// How long making one container may take; it takes milliseconds, or seconds on a machine
/// that is out of breath.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer: a sentence with causes.
const LONGEST_ANSWER: u64 = 64 << 10;

/// Bytes that one sandbox may write into our log, by its runtime and guest; the rest is read
/// and thrown away, so that nobody inside blocks.
const LONGEST_LOG: usize = 64 << 10;

/// Bytes of the log that are kept for an error message.
const LONGEST_EXCERPT: usize = 2 << 10;

/// Smallest limits under which anything starts.
const LEAST_MEMORY: u64 = 16 << 20;
const LEAST_PIDS: u32 = 8;
const LEAST_CPU: u32 = 10;

/// The names of [`TRUSTED`](crate::TRUSTED), [`TRUSTED_OWN`](crate::TRUSTED_OWN) and
/// [`TRUSTED_JAVA`](crate::TRUSTED_JAVA) below [`TOOLS`].
const TRUSTED_NAMES: [&str; 3] = ["trusted.pem", "authority.pem", "trusted.jks"];

/// Where distributions keep the list of those whom programs trust: Debian and Alpine, Fedora, SUSE.
const TRUST_LISTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
];

/// Where Java finds whom it trusts: Debian and SUSE, Fedora, and images of Java's makers.
const JAVA_STORES: [&str; 4] = [
    "/etc/ssl/certs/java/cacerts",
    "/var/lib/ca-certificates/java-cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
    "/opt/java/openjdk/lib/security/cacerts",
];

/// What a sandbox's runtime said last.
type Excerpt = Arc<Mutex<String>>;

pub(super) async fn create(shared: &Arc<Shared>, spec: &Spec) -> Result<Sandbox, ProviderError> {
    let (stream, description) = make(shared, spec).await?;
    Ok(Sandbox {
        id: spec.id.clone(),
        stream: Box::new(stream),
        description,
    })
}

/// The same, with the link as the socket that it is.
pub(super) async fn make(
    shared: &Arc<Shared>,
    spec: &Spec,
) -> Result<(UnixStream, Description), ProviderError> {
    check(spec)?;
    let way = shared.way(spec.isolation)?;
    members::check(shared, way, spec)?;
    let _permit = shared
        .permits
        .acquire()
        .await
        .map_err(|error| ProviderError::Host {
            step: "wait for a processor".to_owned(),
            source: io::Error::other(error),
        })?;
    let hold = Arc::new(shared.lock(&spec.id).await);
    if let (DiskLimit::LoopExt4, bytes) = (shared.disk, spec.resources.disk_bytes) {
        make_template(shared, bytes).await?;
    }
    let request = prepare(shared, spec, way, &hold).await?;
    match launch(shared, &spec.id, &request).await {
        Ok(stream) => {
            let mut description = shared.description(way);
            if spec.members {
                description.lost.extend(members::lost());
            }
            Ok((stream, description))
        }
        Err(failed) => {
            destroy::destroy_held(shared, &spec.id).await?;
            Err(failed.into_error(way).await)
        }
    }
}

/// Everything about a specification that needs no look at the host.
fn check(spec: &Spec) -> Result<(), ProviderError> {
    let wrong = |field: &'static str, reason: String| {
        Err(ProviderError::Spec {
            field: field.into(),
            reason,
        })
    };
    let resources = &spec.resources;
    if resources.memory_bytes < LEAST_MEMORY {
        return wrong(
            "memory limit",
            format!("at least {LEAST_MEMORY} bytes are needed"),
        );
    }
    if resources.pids < LEAST_PIDS {
        return wrong("process limit", format!("at least {LEAST_PIDS} are needed"));
    }
    if resources.cpu_millis < LEAST_CPU {
        return wrong(
            "cpu limit",
            format!("at least {LEAST_CPU} thousandths are needed"),
        );
    }
    if resources.disk_bytes < disk::SMALLEST {
        return wrong(
            "disk limit",
            format!("at least {} bytes are needed", disk::SMALLEST),
        );
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if !(1..=64).contains(&spec.hostname.len()) || !spec.hostname.bytes().all(letter) {
        return wrong(
            "hostname",
            "it is 1 to 64 letters, digits, dots and hyphens".to_owned(),
        );
    }
    if let Rootfs::Directory(path) | Rootfs::Tarball(path) = &spec.rootfs {
        check_path("root file system", path)?;
    }
    for mount in &spec.read_only {
        check_path("read-only mount", &mount.source)?;
        let inside = mount.target.strip_prefix(TOOLS).unwrap_or(Path::new(""));
        let plain = inside
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !plain
            || inside.as_os_str().is_empty()
            || inside.starts_with(GUEST)
            || TRUSTED_NAMES.iter().any(|name| inside.starts_with(name))
        {
            let shown = mount.target.display();
            return wrong(
                "read-only mount",
                format!("{shown} is not a free place below {TOOLS}"),
            );
        }
    }
    Ok(())
}

fn check_path(field: &'static str, path: &Path) -> Result<(), ProviderError> {
    let text = path.to_str().unwrap_or("\\");
    // These separate the layers and options of an overlay.
    let reason = if !path.is_absolute() {
        format!("{} is not an absolute path", path.display())
    } else if text.contains([':', ',', '\\']) {
        format!(
            "{} holds a colon, comma, backslash or bytes that are no text",
            path.display()
        )
    } else if !path.exists() {
        format!("{} does not exist", path.display())
    } else {
        return Ok(());
    };
    Err(ProviderError::Spec {
        field: field.into(),
        reason,
    })
}

async fn make_template(shared: &Arc<Shared>, bytes: u64) -> Result<(), ProviderError> {
    let directory = shared.data.join("disks");
    if disk::template_path(&directory, bytes).exists() {
        return Ok(());
    }
    let one = shared.template.clone().lock_owned().await;
    blocking(move || {
        // Held until the thread is done, even if nobody waits for it any more.
        let _one = one;
        disk::make_template(&directory, bytes)
            .map(drop)
            .map_err(|error| {
                host("make a template for disks of this size")(io::Error::other(error))
            })
    })
    .await
}

/// Makes all files and control groups. The lock goes along: should this future be dropped,
/// the thread finishes, and nobody destroys what it is just making.
async fn prepare(
    shared: &Arc<Shared>,
    spec: &Spec,
    way: &Way,
    hold: &Arc<OwnedMutexGuard<()>>,
) -> Result<PathBuf, ProviderError> {
    let (shared, spec, hold) = (shared.clone(), spec.clone(), hold.clone());
    let maker = way.maker.clone();
    blocking(move || {
        let _hold = hold;
        let directory = shared.directory(&spec.id);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ProviderError::InUse {
                    id: spec.id.clone(),
                });
            }
            made => made.map_err(host("make the sandbox's directory"))?,
        }
        let written = write_files(&shared, &spec, maker, &directory);
        if written.is_err() {
            destroy::remove(&shared, &spec.id)?;
        }
        written
    })
    .await
}

fn write_files(
    shared: &Shared,
    spec: &Spec,
    maker: Maker,
    directory: &Path,
) -> Result<PathBuf, ProviderError> {
    let mut root = root(shared, &spec.rootfs)?;
    if spec.members {
        let names = members::names(&shared.data.join("rootfs"));
        root.binds
            .extend(names.map_err(host("write the names of members"))?);
    }
    let ids = shared.take_ids(&spec.id)?;
    let resources = &spec.resources;
    let id = spec.id.as_str();
    let cgroups = match &shared.cgroups {
        Some(groups) => groups
            .make(id, resources)
            .map_err(host("make control groups"))?,
        None => Vec::new(),
    };
    let disk = match shared.disk {
        DiskLimit::Tmpfs => Disk::Memory(resources.disk_bytes),
        DiskLimit::LoopExt4 => {
            let template = disk::template_path(&shared.data.join("disks"), resources.disk_bytes);
            let image = directory.join("disk.img");
            disk::copy_image(&template, &image).map_err(host("copy the disk image"))?;
            Disk::Image(image)
        }
    };
    let guest = Bind {
        source: shared.guest.clone(),
        target: GUEST.into(),
    };
    let tools = spec.read_only.iter().map(|mount| Bind {
        source: mount.source.clone(),
        target: mount
            .target
            .strip_prefix(TOOLS)
            .unwrap_or(&mount.target)
            .to_owned(),
    });
    let (shown, over) = match &spec.trusted {
        Some(trusted) => {
            show_trusted(trusted, directory).map_err(host("write whom programs trust"))?
        }
        None => Default::default(),
    };
    let tools = tools.chain(shown);
    let request = Request {
        id: id.to_owned(),
        hostname: spec.hostname.clone(),
        root: root.layers,
        binds: root.binds,
        over,
        tools: std::iter::once(guest).chain(tools).collect(),
        disk,
        ids,
        members: spec.members,
        watched: shared.watched,
        cgroups,
        cgroups_path: shared.cgroups.as_ref().map(|groups| groups.path(id)),
        limits: Limits {
            memory_bytes: resources.memory_bytes,
            pids: resources.pids,
            cpu_quota_us: cgroup::quota_us(resources.cpu_millis),
            cpu_period_us: CPU_PERIOD_US,
        },
        maker,
    };
    let path = directory.join("request.json");
    let text = serde_json::to_vec(&request).map_err(io::Error::other);
    text.and_then(|text| fs::write(&path, text))
        .map_err(host("write the request"))?;
    Ok(path)
}

/// Writes whom programs trust; gives what is shown below [`TOOLS`], and over files of the root.
fn show_trusted(trusted: &Trusted, directory: &Path) -> io::Result<(Vec<Bind>, Vec<Bind>)> {
    let mut shown = Vec::new();
    let contents = [
        trusted.all.as_bytes(),
        trusted.own.as_bytes(),
        &trusted.java,
    ];
    for (name, content) in TRUSTED_NAMES.iter().zip(contents) {
        let source = directory.join(name);
        fs::write(&source, content)?;
        fs::set_permissions(&source, fs::Permissions::from_mode(0o644))?;
        shown.push(Bind {
            source,
            target: name.into(),
        });
    }
    let show_over = |shown: &Bind, target: &str| Bind {
        source: shown.source.clone(),
        target: target.into(),
    };
    let lists = TRUST_LISTS.map(|target| show_over(&shown[0], target));
    let stores = JAVA_STORES.map(|target| show_over(&shown[2], target));
    Ok((shown, lists.into_iter().chain(stores).collect()))
}

fn root(shared: &Shared, rootfs: &Rootfs) -> Result<Root, ProviderError> {
    let directory = shared.data.join("rootfs");
    let failed = |error| host("prepare the root file system")(io::Error::other(error));
    let foreign = match rootfs {
        Rootfs::Host => return Ok(shared.host_root.clone()),
        Rootfs::Directory(path) => path.clone(),
        Rootfs::Tarball(path) => rootfs::tarball(&directory, path).map_err(failed)?,
    };
    let points = rootfs::mount_points(&directory).map_err(failed)?;
    Ok(Root {
        layers: vec![points, foreign],
        binds: Vec::new(),
    })
}

/// Why there is no container, and what was said while making it.
struct Failed {
    reason: Reason,
    excerpt: Option<(Excerpt, tokio::task::JoinHandle<()>)>,
}

enum Reason {
    Error(ProviderError),
    Runtime(String),
    Late,
}

impl Failed {
    async fn into_error(self, way: &Way) -> ProviderError {
        let said = match self.excerpt {
            None => String::new(),
            Some((excerpt, mut task)) => {
                // All who could write are dead: what is left is in the pipe.
                let _ = timeout(Duration::from_secs(1), &mut task).await;
                task.abort();
                let said = excerpt.lock().unwrap_or_else(PoisonError::into_inner);
                said.trim().replace('\n', "; ")
            }
        };
        match self.reason {
            Reason::Error(error) => error,
            Reason::Late => ProviderError::TimedOut {
                step: "making the container".into(),
                seconds: PATIENCE.as_secs(),
            },
            Reason::Runtime(reason) => {
                let reason = if said.is_empty() {
                    reason
                } else {
                    format!("{reason}: {said}")
                };
                ProviderError::Runtime {
                    runtime: way.runtime.clone(),
                    reason,
                }
            }
        }
    }
}

impl From<ProviderError> for Failed {
    fn from(error: ProviderError) -> Self {
        Self {
            reason: Reason::Error(error),
            excerpt: None,
        }
    }
}

/// Runs the helper and keeps the record. The helper is killed if this future is dropped.
async fn launch(shared: &Shared, id: &SandboxId, request: &Path) -> Result<UnixStream, Failed> {
    let (ours, theirs) = StdStream::pair().map_err(host("make the link"))?;
    ours.set_nonblocking(true).map_err(host("make the link"))?;
    let stream = UnixStream::from_std(ours).map_err(host("make the link"))?;
    let mut child = start(shared, request, theirs.into()).map_err(host("start the helper"))?;
    let answers = child.stdout.take();
    let excerpt = Excerpt::default();
    let log = tokio::spawn(keep_log(id.clone(), child.stderr.take(), excerpt.clone()));
    let outcome = match answers {
        Some(answers) => timeout(PATIENCE, read_answer(answers)).await,
        None => Ok(Err("the helper has no output".to_owned())),
    };
    let reason = match outcome {
        Ok(Ok(made)) => {
            let record = serde_json::to_vec(&made).map_err(io::Error::other);
            let path = shared.directory(id).join("made.json");
            match record.and_then(|record| fs::write(path, record)) {
                Ok(()) => {
                    let keeper = keep(child, log, made.pid);
                    shared.table().keepers.insert(id.clone(), keeper);
                    return Ok(stream);
                }
                Err(error) => Reason::Error(host("write the record")(error)),
            }
        }
        Ok(Err(reason)) => Reason::Runtime(reason),
        Err(_) => Reason::Late,
    };
    // Reaped here, so that whatever it started is ours to reap afterwards.
    let _ = child.kill().await;
    Err(Failed {
        reason,
        excerpt: Some((excerpt, log)),
    })
}

fn start(shared: &Shared, request: &Path, link: OwnedFd) -> io::Result<Child> {
    Command::new(&shared.helper)
        .arg(HELPER_COMMAND)
        .arg(request)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir("/")
        .stdin(Stdio::from(link))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: signals from a terminal are for us, and what the helper leaves
        // behind can be told from our own children.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn read_answer(answers: impl AsyncRead + Unpin) -> Result<Made, String> {
    let mut line = String::new();
    let mut reader = BufReader::new(answers.take(LONGEST_ANSWER));
    reader
        .read_line(&mut line)
        .await
        .map_err(|error| format!("no answer from the helper: {error}"))?;
    match serde_json::from_str(&line) {
        Ok(Answer::Made(made)) => Ok(made),
        Ok(Answer::Failed { reason }) => Err(reason),
        Err(_) => Err("the helper ended without an answer".to_owned()),
    }
}

/// Waits for the helper, which has nothing left to do, then for the log.
fn keep(mut child: Child, log: tokio::task::JoinHandle<()>, pid: i32) -> Keeper {
    let (gone, helper_gone) = watch::channel(false);
    let mut log = AbortOnDrop(log);
    let task = tokio::spawn(async move {
        let _ = child.wait().await;
        gone.send_replace(true);
        let _ = (&mut log.0).await;
    });
    Keeper {
        helper_gone,
        task,
        pid,
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads what runtime and guest print until all who hold the pipe are gone.
async fn keep_log(id: SandboxId, pipe: Option<impl AsyncRead + Unpin>, excerpt: Excerpt) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 4096];
    let mut seen = 0;
    loop {
        let length = match pipe.read(&mut buffer).await {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) => return debug!(sandbox.id = %id, %error, "lost the log of sandbox {id}"),
        };
        seen += length;
        if seen - length > LONGEST_LOG {
            continue;
        }
        let text = String::from_utf8_lossy(&buffer[..length]);
        debug!(sandbox.id = %id, text = %text.trim(), "sandbox {id} printed");
        if seen > LONGEST_LOG {
            warn!(sandbox.id = %id, "sandbox {id} prints too much, the rest is not logged");
        }
        let mut excerpt = excerpt.lock().unwrap_or_else(PoisonError::into_inner);
        if excerpt.len() < LONGEST_EXCERPT {
            excerpt.push_str(&text);
        }
    }
}

/// Writes the guest program where all sandboxes can be shown it, named by its content.
pub(super) fn install_guest(data: &Path, guest: &[u8], digest: &str) -> io::Result<PathBuf> {
    let directory = data.join("guest");
    fs::create_dir_all(&directory)?;
    let path = directory.join(&digest[..16]);
    if !path.exists() {
        let new = directory.join(format!("new-{}", std::process::id()));
        fs::write(&new, guest)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o555))?;
        fs::rename(&new, &path)?;
    }
    Ok(path)
}
