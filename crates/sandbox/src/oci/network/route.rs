//! The kernel's interface for addresses and routes (rtnetlink): the four questions that are asked.

use std::{io, net::IpAddr, os::fd::AsRawFd, os::fd::OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// `RTM_NEWLINK`, `RTM_NEWADDR`, `RTM_NEWROUTE`.
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// `NLM_F_REQUEST | NLM_F_ACK`, and `NLM_F_CREATE` for what is not there yet.
const WITH_ANSWER: u16 = 1 | 4;
const CREATE: u16 = 0x400;
/// The index of `lo` in every network namespace: it is always made first.
pub(super) const LOOPBACK: u32 = 1;
/// `IFF_UP`.
const UP: u32 = 1;
/// `IFA_ADDRESS`, `IFA_LOCAL`, `RTA_OIF`.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const OUT_BY: u16 = 4;
/// `RT_TABLE_MAIN`, `RTPROT_BOOT`, `RT_SCOPE_LINK`, `RTN_UNICAST`.
const MAIN: u8 = 254;
const BOOT: u8 = 3;
const LINK: u8 = 253;
const UNICAST: u8 = 1;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// A socket to ask with.
pub(super) struct Route(OwnedFd);

impl Route {
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        Ok(Self(socket))
    }

    /// Brings a device up.
    pub(super) fn up(&mut self, device: u32) -> io::Result<()> {
        // Any family and type; which flags, and which of them to change.
        let body = [
            [0; 4],
            device.to_ne_bytes(),
            UP.to_ne_bytes(),
            UP.to_ne_bytes(),
        ];
        self.ask(NEW_LINK, WITH_ANSWER, &body.concat())
    }

    /// Gives a device an address of its own.
    pub(super) fn address(&mut self, device: u32, address: IpAddr) -> io::Result<()> {
        let (family, octets) = match address {
            IpAddr::V4(address) => (AddressFamily::Inet, address.octets().to_vec()),
            IpAddr::V6(address) => (AddressFamily::Inet6, address.octets().to_vec()),
        };
        let all = u8::try_from(octets.len() * 8).expect("addresses are short");
        // No flags; of use everywhere.
        let mut body = vec![family as u8, all, 0, 0];
        body.extend(device.to_ne_bytes());
        attribute(&mut body, LOCAL, &octets);
        attribute(&mut body, ADDRESS, &octets);
        self.ask(NEW_ADDRESS, WITH_ANSWER | CREATE, &body)
    }

    /// Leads whatever has no better route out by a device.
    pub(super) fn default(&mut self, device: u32, v6: bool) -> io::Result<()> {
        let family = if v6 {
            AddressFamily::Inet6
        } else {
            AddressFamily::Inet
        };
        let mut body = vec![family as u8, 0, 0, 0, MAIN, BOOT, LINK, UNICAST];
        // No flags.
        body.extend([0; 4]);
        attribute(&mut body, OUT_BY, &device.to_ne_bytes());
        self.ask(NEW_ROUTE, WITH_ANSWER | CREATE, &body)
    }

    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let socket = self.0.as_raw_fd();
        let question = message(kind, flags, body);
        sendto(
            socket,
            &question,
            &NetlinkAddr::new(0, 0),
            MsgFlags::empty(),
        )?;
        let mut answer = [0; 1024];
        let length = recv(socket, &mut answer, MsgFlags::empty())?;
        outcome(&answer[..length])
    }
}

/// A message to the kernel.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).expect("messages are short");
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // A sequence number, and the kernel as whom it is for.
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    message
}

/// Adds an attribute; all that are used here have a length that needs no padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("attributes are short");
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// Reads the error code of an `NLMSG_ERROR`, which follows the header.
fn outcome(answer: &[u8]) -> io::Result<()> {
    let code = answer
        .get(HEADER..HEADER + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a netlink answer cut short"))?;
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(-code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_it_says() {
        let mut body = vec![0; 4];
        attribute(&mut body, OUT_BY, &7_u32.to_ne_bytes());
        let message = message(NEW_ROUTE, WITH_ANSWER, &body);
        assert_eq!(message.len(), HEADER + 4 + 8);
        assert_eq!(message[..4], 28_u32.to_ne_bytes());
        assert_eq!(
            body[4..8],
            [8_u16.to_ne_bytes(), OUT_BY.to_ne_bytes()].concat()
        );
    }

    #[test]
    fn error_code_of_the_kernel_is_told() {
        let mut answer = [0; 36];
        assert!(outcome(&answer).is_ok());
        answer[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(outcome(&answer).unwrap_err().raw_os_error(), Some(1));
        assert!(outcome(&answer[..10]).is_err());
    }
}
