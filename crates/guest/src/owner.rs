//! Whose a connection on loopback is: the kernel is asked by its `sock_diag` interface, which
//! answers for one connection without reading the table of all.
//!
//! The socket to ask with is opened before the guest confines itself, because nothing that is
//! started afterwards may have one.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// Lengths and offsets of `linux/inet_diag.h`: a header of 16 bytes, then the question or answer.
const HEADER: usize = 16;
const QUESTION: usize = HEADER + 56;
const ANSWER_UID: usize = HEADER + 64;
const ANSWER: usize = HEADER + 72;

/// `SOCK_DIAG_BY_FAMILY`, both ways.
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const ANY_STATE: u32 = u32::MAX;
/// The state of a socket that only waits for connections; the kernel looks for one when there is
/// no connection.
const LISTENS: u8 = 10;

/// Asks whose connections are.
pub struct Owners {
    socket: OwnedFd,
}

impl Owners {
    /// Opens the way to ask. An error when this kernel has none.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkSockDiag;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        Ok(Self { socket })
    }

    /// Tries it with a connection of our own. An error when this kernel cannot say.
    pub fn check(&self) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let ends = (client.local_addr()?, client.peer_addr()?);
        let (std::net::SocketAddr::V4(from), std::net::SocketAddr::V4(to)) = ends else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        if self.of(from, to) == Some(nix::unistd::getuid().as_raw()) {
            Ok(())
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// The user at the far end of a connection that came `from` there `to` us; `None` when it is
    /// gone already.
    pub fn of(&self, from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
        let descriptor = self.socket.as_raw_fd();
        // What was left over by an earlier question must not answer this one.
        let mut answer = [0; 4096];
        while recv(descriptor, &mut answer, MsgFlags::MSG_DONTWAIT).is_ok() {}
        send(descriptor, &question(from, to), MsgFlags::MSG_DONTWAIT).ok()?;
        // The kernel answers before `send` returns.
        let len = recv(descriptor, &mut answer, MsgFlags::MSG_DONTWAIT).ok()?;
        read(answer.get(..len)?, from, to)
    }
}

/// The question for the socket whose own end is `from`.
fn question(from: SocketAddrV4, to: SocketAddrV4) -> [u8; QUESTION] {
    let mut bytes = [0; QUESTION];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, &(QUESTION as u32).to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &REQUEST.to_ne_bytes());
    put(HEADER, &[AddressFamily::Inet as u8, TCP]);
    put(HEADER + 4, &ANY_STATE.to_ne_bytes());
    put(HEADER + 8, &ends(from, to));
    // No cookie: any socket with these ends.
    put(HEADER + 48, &[0xff; 8]);
    bytes
}

const TCP: u8 = 6;

/// Both ports, then both addresses with room for the longer kind, as in the kernel's structure.
fn ends(own: SocketAddrV4, far: SocketAddrV4) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..2].copy_from_slice(&own.port().to_be_bytes());
    bytes[2..4].copy_from_slice(&far.port().to_be_bytes());
    bytes[4..8].copy_from_slice(&own.ip().octets());
    bytes[20..].copy_from_slice(&far.ip().octets());
    bytes
}

/// Reads the answer; `None` when it is about something else, or nothing was found.
fn read(answer: &[u8], from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
    let part = |at: usize, len: usize| answer.get(at..at + len);
    if answer.len() < ANSWER || part(4, 2)? != BY_FAMILY.to_ne_bytes() {
        return None;
    }
    let state = answer[HEADER + 1];
    let ports = part(HEADER + 4, 4)?;
    if state == LISTENS || ports != &ends(from, to)[..4] {
        return None;
    }
    let uid: [u8; 4] = part(ANSWER_UID, 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(address: std::net::SocketAddr) -> SocketAddrV4 {
        match address {
            std::net::SocketAddr::V4(address) => address,
            std::net::SocketAddr::V6(_) => panic!("{address} is none"),
        }
    }

    #[test]
    fn the_owner_is_whoever_connected_until_it_is_gone() {
        let Ok(owners) = Owners::open() else {
            eprintln!("skipped: this kernel does not say whose a connection is");
            return;
        };
        owners.check().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_connection, from) = listener.accept().unwrap();
        let (from, to) = (v4(from), v4(listener.local_addr().unwrap()));
        let me = nix::unistd::getuid().as_raw();
        assert_eq!(owners.of(from, to), Some(me));
        // The listener itself, and what is not there, are nobody's connections.
        assert_eq!(owners.of(to, from), Some(me), "the accepted end");
        assert_eq!(owners.of(to, SocketAddrV4::new(*to.ip(), 1)), None);
        drop(client);
        assert_ne!(owners.of(from, SocketAddrV4::new(*to.ip(), 1)), Some(me));
    }

    #[test]
    fn an_answer_about_something_else_is_none() {
        let (from, to): (SocketAddrV4, SocketAddrV4) = (
            "127.0.0.1:4000".parse().unwrap(),
            "127.0.0.1:80".parse().unwrap(),
        );
        let mut answer = [0; ANSWER];
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        answer[HEADER + 1] = 1;
        answer[HEADER + 4..HEADER + 28].copy_from_slice(&ends(from, to));
        answer[ANSWER_UID..ANSWER_UID + 4].copy_from_slice(&2000u32.to_ne_bytes());
        assert_eq!(read(&answer, from, to), Some(2000));
        assert_eq!(read(&answer, to, from), None);
        assert_eq!(read(&answer[..ANSWER - 1], from, to), None);
        let mut listens = answer;
        listens[HEADER + 1] = LISTENS;
        assert_eq!(read(&listens, from, to), None);
        let mut error = answer;
        error[4..6].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(read(&error, from, to), None);
    }
}
