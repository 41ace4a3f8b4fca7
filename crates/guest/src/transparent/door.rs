//! Where what names stand for is listened on, and who comes in.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};
use protocol::{Open, Opened};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::sleep,
};

use super::names::Names;
use crate::{port, serve::Guest};

/// Ports of one name that are listened on; a policy that opens more gets the first of them.
const PORTS_MAX: usize = 16;

/// Listening sockets over all names: a part of the descriptors that the guest may have. Beyond it
/// the name that was not asked for longest loses its own, and if there is none, new names wait.
const DOORS_MAX: usize = 1024;

/// Connections of one member that are carried at a time; further ones are refused.
const MEMBERS_MAX: usize = 64;

/// Connections that wait to be taken, for each door.
const BACKLOG: u32 = 64;

/// All doors.
pub struct Doors {
    guest: Rc<Guest>,
    names: RefCell<Names<BTreeMap<u16, Door>>>,
    rooms: Rc<Rooms>,
}

/// One that is open; dropping it closes it. Who came in stays.
struct Door(AbortHandle);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How many of each member are in. There are no more of them than members that a sandbox can have.
#[derive(Default)]
struct Rooms(RefCell<HashMap<u32, Arc<Semaphore>>>);

impl Doors {
    pub fn new(guest: Rc<Guest>) -> Self {
        Self {
            guest,
            names: RefCell::new(Names::new()),
            rooms: Rc::default(),
        }
    }

    /// The address of a name that may be reached on these ports and no others; `None` when there is
    /// no room for it.
    ///
    /// Where a port of it cannot be had because a program listens on it at every address, somebody
    /// else would answer for the name: then only a sandbox of one gets it, who is that somebody.
    pub fn open(&self, name: &str, ports: &[u16]) -> Option<Ipv4Addr> {
        let now = Instant::now();
        let ports = &ports[..ports.len().min(PORTS_MAX)];
        let mut names = self.names.borrow_mut();
        names.of(name, now)?;
        while names.kept().map(BTreeMap::len).sum::<usize>() + ports.len() > DOORS_MAX {
            if !names.forget_one(name, now) {
                return None;
            }
        }
        let (address, doors) = names.of(name, now)?;
        doors.retain(|port, _| ports.contains(port));
        for port in ports {
            if doors.contains_key(port) {
                continue;
            }
            match self.listen(name, address, *port) {
                Some(door) => drop(doors.insert(*port, door)),
                None if self.guest.members => return None,
                None => {}
            }
        }
        (!doors.is_empty()).then_some(address)
    }

    fn listen(&self, name: &str, address: Ipv4Addr, port: u16) -> Option<Door> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.set_reuseaddr(true).ok()?;
        socket.bind((address, port).into()).ok()?;
        let listener = socket.listen(BACKLOG).ok()?;
        let task = accept(
            self.guest.clone(),
            self.rooms.clone(),
            listener,
            name.into(),
            port,
        );
        Some(Door(tokio::task::spawn_local(task).abort_handle()))
    }
}

impl Rooms {
    /// Room for one more connection of a member.
    fn enter(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        let mut rooms = self.0.borrow_mut();
        let room = rooms.entry(uid);
        let room = room.or_insert_with(|| Arc::new(Semaphore::new(MEMBERS_MAX)));
        room.clone().try_acquire_owned().ok()
    }
}

async fn accept(
    guest: Rc<Guest>,
    rooms: Rc<Rooms>,
    listener: TcpListener,
    name: Rc<str>,
    port: u16,
) {
    loop {
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            // Out of descriptors, or the client went away: neither closes the door.
            Err(_) => {
                sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let mut own_room = None;
        let uid = guest.acceptances.owner(&connection);
        if guest.members {
            own_room = uid.and_then(|uid| rooms.enter(uid));
            if own_room.is_none() {
                reset(&connection);
                continue;
            }
        }
        let Some(room) = guest.acceptances.room().await else {
            return;
        };
        let wishes = guest.acceptances.wishes();
        let (name, permits) = (name.to_string(), (own_room, room));
        let open = Open::Reach { name, port, uid };
        tokio::task::spawn_local(carry(connection, wishes, open, permits));
    }
}

async fn carry(
    mut connection: TcpStream,
    wishes: port::Wishes,
    open: Open,
    _permits: (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit),
) {
    let carried = match port::ask(wishes, &open).await {
        Some((Opened::Ok, from_host, to_host)) => port::relay(&mut connection, from_host, to_host)
            .await
            .is_ok(),
        _ => false,
    };
    if !carried {
        reset(&connection);
    }
}

/// Makes the end of a connection one that a program takes for a refusal, and not for an end.
fn reset(connection: &TcpStream) {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let _ = setsockopt(connection, sockopt::Linger, &at_once);
}
