//! A packet of IP, and the packet that refuses it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Ends;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

/// Flags of TCP.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Bytes of the headers.
const V4: usize = 20;
const V6: usize = 40;
const TCP_LEN: usize = 20;
const UNREACHABLE_LEN: usize = 8;

/// Bytes of a packet that its refusal repeats: the headers, for the kernel to find whose it was.
const REPEATED: usize = 128;

/// A packet that was sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What is on top of IP, by its number.
    pub protocol: u8,
    /// Where from.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
    bytes: &'a [u8],
    /// What is on top of IP.
    content: &'a [u8],
    /// A later piece of a packet.
    is_piece: bool,
}

/// Reads a packet; `None` for what is none, and for what the kernel sends by itself to manage
/// multicast and neighbours.
pub fn read(bytes: &[u8]) -> Option<Packet<'_>> {
    let (protocol, from, to, content, is_piece) = match bytes.first()? >> 4 {
        4 => read_v4(bytes)?,
        6 => read_v6(bytes)?,
        _ => return None,
    };
    let is_kernels = match (protocol, content.first()) {
        (ICMP_V6, Some(kind)) => (130..=136).contains(kind) || *kind == 143,
        // Hop-by-hop options: what manages multicast has one.
        (0, _) => true,
        _ => false,
    };
    if is_kernels {
        return None;
    }
    let port = |at: usize| {
        let has = matches!(protocol, TCP | UDP | 33 | 132 | 136) && !is_piece;
        let bytes = content.get(at..at + 2).filter(|_| has);
        bytes.map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let (from, to): Ends = ((from, port(0)).into(), (to, port(2)).into());
    Some(Packet {
        protocol,
        from,
        to,
        bytes,
        content,
        is_piece,
    })
}

type Read<'a> = (u8, IpAddr, IpAddr, &'a [u8], bool);

fn read_v4(bytes: &[u8]) -> Option<Read<'_>> {
    let header = bytes.get(..V4)?;
    let length = usize::from(header[0] & 15) * 4;
    let address = |at: usize| {
        let octets: [u8; 4] = header[at..at + 4].try_into().expect("four of them");
        IpAddr::V4(Ipv4Addr::from(octets))
    };
    let is_piece = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    let content = bytes.get(length.max(V4)..)?;
    Some((header[9], address(12), address(16), content, is_piece))
}

fn read_v6(bytes: &[u8]) -> Option<Read<'_>> {
    let header = bytes.get(..V6)?;
    let address = |at: usize| {
        let octets: [u8; 16] = header[at..at + 16].try_into().expect("sixteen of them");
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    // Behind other headers it counts as what these are.
    Some((header[6], address(8), address(24), &bytes[V6..], false))
}

impl Packet<'_> {
    /// The packet that tells the sender at once; `None` where there is none to send.
    pub fn refusal(&self) -> Option<Vec<u8>> {
        let to_one = match self.to.ip() {
            IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_multicast(),
        };
        if self.is_piece || !to_one {
            return None;
        }
        match self.protocol {
            TCP => self.reset(),
            // Errors are never answered by errors.
            ICMP if !matches!(self.content.first(), Some(8)) => None,
            ICMP_V6 if !matches!(self.content.first(), Some(128)) => None,
            _ => self.unreachable(),
        }
    }

    /// The end of a connection that never was.
    fn reset(&self) -> Option<Vec<u8>> {
        let asked = self.content.get(..TCP_LEN)?;
        let flags = asked[13];
        if flags & RST != 0 {
            return None;
        }
        let number = |at: usize| -> u32 {
            u32::from_be_bytes(asked[at..at + 4].try_into().expect("four of them"))
        };
        let header = usize::from(asked[12] >> 4) * 4;
        let sent = self.content.len().saturating_sub(header);
        let taken =
            u32::try_from(sent).ok()? + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let mut content = Vec::with_capacity(TCP_LEN);
        content.extend(&asked[2..4]);
        content.extend(&asked[..2]);
        let (sequence, flags) = match flags & ACK != 0 {
            true => (number(8), RST),
            false => (0, RST | ACK),
        };
        content.extend(sequence.to_be_bytes());
        content.extend(number(4).wrapping_add(taken).to_be_bytes());
        content.extend([5 << 4, flags, 0, 0, 0, 0, 0, 0]);
        Some(self.back(TCP, content, 16))
    }

    /// Says that nobody is there: to whom sends by UDP that the port is closed, which programs take
    /// for a refused connection, to others that it is not allowed.
    fn unreachable(&self) -> Option<Vec<u8>> {
        let udp = self.protocol == UDP;
        let (protocol, kind, code) = match self.to {
            SocketAddr::V4(_) => (ICMP, 3, if udp { 3 } else { 13 }),
            SocketAddr::V6(_) => (ICMP_V6, 1, if udp { 4 } else { 1 }),
        };
        let mut content = vec![kind, code, 0, 0, 0, 0, 0, 0];
        debug_assert_eq!(content.len(), UNREACHABLE_LEN);
        content.extend(&self.bytes[..self.bytes.len().min(REPEATED)]);
        Some(self.back(protocol, content, 2))
    }

    /// A packet back to the sender. The content's sum belongs at `sum_at` of it.
    fn back(&self, protocol: u8, mut content: Vec<u8>, sum_at: usize) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("refusals are short");
        let mut packet;
        let mut pseudo = Vec::new();
        match (self.to.ip(), self.from.ip()) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                let total = length + V4 as u16;
                packet = vec![0x45, 0];
                packet.extend(total.to_be_bytes());
                packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
                packet.extend(source.octets());
                packet.extend(target.octets());
                let sum = checksum(&[&packet]);
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
                if protocol != ICMP {
                    pseudo.extend(&packet[12..20]);
                    pseudo.extend([0, protocol]);
                    pseudo.extend(length.to_be_bytes());
                }
            }
            (source, target) => {
                packet = vec![0x60, 0, 0, 0];
                packet.extend(length.to_be_bytes());
                packet.extend([protocol, 64]);
                for ip in [source, target] {
                    if let IpAddr::V6(ip) = ip {
                        packet.extend(ip.octets());
                    }
                }
                pseudo.extend(&packet[8..]);
                pseudo.extend(u32::from(length).to_be_bytes());
                pseudo.extend([0, 0, 0, protocol]);
            }
        }
        let sum = checksum(&[&pseudo, &content]);
        content[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        packet.extend(content);
        packet
    }
}

/// The Internet's checksum (RFC 1071) of parts of an even length, the last of any.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests;
