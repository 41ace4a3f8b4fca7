//! Process 1: owns the link, hands every stream that the host opens to [`crate::serve`].

use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    process::ExitCode,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use nix::unistd::{close, dup2};
use tokio::{
    io::BufStream,
    net::UnixStream,
    sync::{mpsc, oneshot},
    task::{JoinSet, LocalSet},
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use crate::{
    confine, owner::Owners, port::Acceptances, reaper::Reaper, serve, stats::Clock, strays,
    wire::Stream,
};

/// Streams in both directions together, as the host counts them too.
const STREAMS_MAX: usize = 512;

/// Bytes that may wait in the guest: the protocol's 256 KiB for each stream, and 32 MiB shared by
/// streams whose throughput earns more. Nothing of it is taken before it is needed.
const RECEIVE_WINDOW_MAX: usize = STREAMS_MAX * 256 * 1024 + 32 * 1024 * 1024;

/// The multiplexer's largest piece; see the host's side for the reason.
const SPLIT_SEND_SIZE: usize = 64 * 1024;

/// Joins a header and a small body in one system call.
const SOCKET_BUFFER: usize = 16 * 1024;

/// Threads for archives and statistics, which block. One more waits its turn.
const BLOCKING_THREADS_MAX: usize = 8;

/// How long such a thread rests before it ends: longer than any sandbox lives, so that there is
/// always one.
const BLOCKING_THREAD_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// `members`: the sandbox holds several sessions, each with a user of its own.
pub fn main(members: bool) -> ExitCode {
    match start(members) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(members: bool) -> io::Result<()> {
    close_strangers()?;
    let nowhere = strays::take()?;
    // None where there is one user, or on a kernel that cannot say: then it is not relied on.
    let owners = members.then(Owners::open).and_then(Result::ok);
    let begun = Instant::now();
    confine::confine(members)?;
    let clock = Clock::start(begun.elapsed());
    let link = take_link()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREAD_LIFE)
        .thread_stack_size(512 * 1024)
        .build()?
        .block_on(LocalSet::new().run_until(async {
            // Now, because later a sandbox at its limit of processes may have no room for it, and
            // with one thread there is always a place to wait.
            let _ = tokio::task::spawn_blocking(|| ()).await;
            run(link, members, clock, owners, nowhere).await
        }))
}

/// Closes whatever the runtime left open besides 0, 1 and 2. Nothing of ours is open yet.
fn close_strangers() -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in open {
        // The one that listed them is closed already.
        let _ = close(descriptor);
    }
    Ok(())
}

/// Moves the link away from descriptor 0, to one that no child inherits, and leaves nothing there.
fn take_link() -> io::Result<std::os::unix::net::UnixStream> {
    let link = std::os::unix::net::UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    link.set_nonblocking(true)?;
    let nothing = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2(nothing.as_raw_fd(), 0)?;
    Ok(link)
}

async fn run(
    link: std::os::unix::net::UnixStream,
    members: bool,
    clock: Clock,
    owners: Option<Owners>,
    nowhere: Option<std::fs::File>,
) -> io::Result<()> {
    let mut config = yamux::Config::default();
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(STREAMS_MAX);
    config.set_max_connection_receive_window(Some(RECEIVE_WINDOW_MAX));
    config.set_split_send_size(SPLIT_SEND_SIZE);
    let socket = UnixStream::from_std(link)?;
    let socket = BufStream::with_capacity(SOCKET_BUFFER, SOCKET_BUFFER, socket).compat();

    // As long as there are accepted connections to ask for, so it is never found full.
    let (wishes, wished) = mpsc::channel(crate::port::ACCEPTED_MAX);
    let guest = Rc::new(serve::Guest::new(
        members,
        clock,
        Reaper::start()?,
        Acceptances::new(wishes, owners),
    ));
    if let Some(nowhere) = nowhere {
        tokio::task::spawn_local(strays::refuse(nowhere, guest.clone()));
    }
    let connection = yamux::Connection::new(socket, config, yamux::Mode::Server);
    let mut driver = Driver {
        connection,
        wished,
        waiting: None,
        guest,
        tasks: JoinSet::new(),
    };
    poll_fn(|cx| driver.poll(cx)).await;
    // The link has ended. Everything else is ended by the kernel when process 1 exits; not
    // waiting for the tasks is the point.
    std::process::exit(0)
}

/// Drives the multiplexer; the only one to touch the socket.
struct Driver {
    connection: yamux::Connection<Compat<BufStream<UnixStream>>>,
    wished: mpsc::Receiver<oneshot::Sender<Stream>>,
    waiting: Option<oneshot::Sender<Stream>>,
    guest: Rc<serve::Guest>,
    /// One for each stream of the host, so no more than the multiplexer allows.
    tasks: JoinSet<()>,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(cx) {}
        loop {
            if self.waiting.is_none()
                && let Poll::Ready(wish) = self.wished.poll_recv(cx)
            {
                self.waiting = wish;
            }
            if self.waiting.is_none() {
                break;
            }
            match self.connection.poll_new_outbound(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(stream)) => {
                    if let Some(wish) = self.waiting.take() {
                        // Whoever wished may be gone; the stream is dropped then.
                        let _ = wish.send(Stream::new(stream));
                    }
                }
            }
        }
        loop {
            match self.connection.poll_next_inbound(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(stream))) => {
                    let task = serve::serve(self.guest.clone(), Stream::new(stream));
                    self.tasks.spawn_local(task);
                    while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(cx) {}
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
            }
        }
    }
}
