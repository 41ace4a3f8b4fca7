//! One stream of the host: learns what it is for and does it.

use std::{cell::Cell, rc::Rc};

use protocol::{ErrorCode, GENERATION, Hello, Open, Opened, Refusal};

use crate::{
    archive, identity, make_dir, port, port::Acceptances, process, reaper::Reaper, remove_dir,
    stats::Clock, strays::Strays, transparent, tree, wire::Stream,
};

/// What the streams of one guest share.
pub struct Guest {
    /// Set once a generation was agreed on.
    greeted: Cell<bool>,
    clock: Clock,
    /// Several sessions share the sandbox.
    pub members: bool,
    pub reaper: Rc<Reaper>,
    pub acceptances: Acceptances,
    pub processes: process::Count,
    /// What was sent and went nowhere.
    pub strays: Strays,
    /// What the next save may leave out.
    known: tree::Known,
}

impl Guest {
    pub fn new(members: bool, clock: Clock, reaper: Rc<Reaper>, acceptances: Acceptances) -> Self {
        Self {
            greeted: Cell::new(false),
            clock,
            members,
            reaper,
            acceptances,
            processes: process::Count::default(),
            strays: Strays::default(),
            known: tree::Known::new(),
        }
    }
}

/// Serves one stream to its end.
pub async fn serve(guest: Rc<Guest>, mut stream: Stream) {
    let Some(body) = stream.message().await else {
        return;
    };
    let open = match protocol::decode_open(&body) {
        Ok(open) => open,
        Err(refusal) => return refuse(stream, refusal).await,
    };
    if !guest.greeted.get() && !matches!(open, Open::Hello { .. }) {
        let refusal = Refusal::new(ErrorCode::HelloFirst, "the first stream must be a hello");
        return refuse(stream, refusal).await;
    }
    if let Err(refusal) = belongs(guest.members, &open) {
        return refuse(stream, refusal).await;
    }
    match open {
        Open::Hello { generations } => hello(&guest, stream, &generations).await,
        Open::Spawn(spec) => process::serve(&guest, stream, spec).await,
        Open::Dial { port, uid } => port::dial(&guest.acceptances, stream, port, uid).await,
        Open::Listen { port, tag, uid } => {
            port::listen(&guest.acceptances, stream, port, tag, uid).await;
        }
        Open::Unpack { dir, user } => archive::unpack(stream, dir, user).await,
        Open::Pack { paths, base, user } => archive::pack(stream, base, paths, user).await,
        Open::MakeDir { path, mode, owner } => match make_dir::make(&path, mode, owner.as_ref()) {
            Ok(()) => reply(stream, Opened::Ok).await,
            Err(refusal) => refuse(stream, refusal).await,
        },
        Open::RemoveDir { path } => {
            let removed = tokio::task::spawn_blocking(move || remove_dir::remove(&path)).await;
            match removed.unwrap_or_else(|error| Err(failed(format!("removing: {error}")))) {
                Ok(()) => reply(stream, Opened::Ok).await,
                Err(refusal) => refuse(stream, refusal).await,
            }
        }
        Open::Save {
            roots,
            since_ns,
            user,
        } => tree::save(&guest.known, stream, roots, since_ns, user).await,
        Open::Restore { roots, user } => tree::restore(&guest.known, stream, roots, user).await,
        Open::Stats => {
            let clock = guest.clock;
            match tokio::task::spawn_blocking(move || crate::stats::gather(clock)).await {
                Ok(stats) => reply(stream, Opened::Stats(stats)).await,
                Err(error) => refuse(stream, failed(format!("statistics: {error}"))).await,
            }
        }
        Open::Transparent => transparent::serve(guest, stream).await,
        Open::Accepted { .. } | Open::Name { .. } | Open::Reach { .. } | Open::Strays { .. } => {
            let refusal = Refusal::new(ErrorCode::BadRequest, "this is for the guest to open");
            refuse(stream, refusal).await;
        }
    }
}

/// Refuses what would be done as the guest itself where only members may do it.
fn belongs(members: bool, open: &Open) -> Result<(), Refusal> {
    match open {
        Open::Spawn(spec) => identity::check(members, spec.user.as_ref()),
        Open::Unpack { user, .. }
        | Open::Pack { user, .. }
        | Open::Save { user, .. }
        | Open::Restore { user, .. } => identity::check(members, user.as_ref()),
        Open::MakeDir { owner: Some(_), .. } if !members => Err(Refusal::new(
            ErrorCode::BadRequest,
            "this sandbox has one user and another is named",
        )),
        _ => Ok(()),
    }
}

async fn hello(guest: &Guest, stream: Stream, generations: &[u32]) {
    let Some(generation) = protocol::common_generation(generations) else {
        let message = format!("the guest speaks generation {GENERATION}, the host {generations:?}");
        return refuse(stream, Refusal::new(ErrorCode::NoCommonGeneration, message)).await;
    };
    guest.greeted.set(true);
    let hello = Hello {
        generation,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uid: nix::unistd::getuid().as_raw(),
    };
    reply(stream, Opened::Hello(hello)).await;
}

/// Answers no and ends the stream.
pub async fn refuse(stream: Stream, refusal: Refusal) {
    reply(stream, Opened::Err(refusal)).await;
}

async fn reply(mut stream: Stream, opened: Opened) {
    if stream.answer(&opened).await.is_ok() {
        stream.finish().await;
    }
}

/// A refusal that the operating system is the reason for.
pub fn failed(message: String) -> Refusal {
    Refusal::new(ErrorCode::Failed, message)
}
