//! Which addresses are public. Everything that is not plainly a public host is
//! refused, whatever way it is written or wrapped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses that are not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Private {
    /// Its name.
    pub(crate) range: &'static str,
    /// Whether it is a network of hosts of its own, and not this host, its link or nothing at all.
    pub(crate) network: bool,
}

/// The ranges of private networks. Everything else that is not public leads to the server itself,
/// to what its link offers (the cloud's metadata), or nowhere.
const NETWORKS: [&str; 3] = ["private", "carrier-grade-nat", "unique-local"];

/// The non-public range an address lies in, or `None` when it is public.
pub(crate) fn private_range(ip: IpAddr) -> Option<Private> {
    let range = match ip {
        IpAddr::V4(ip) => private_v4(ip),
        IpAddr::V6(ip) => private_v6(ip),
    }?;
    Some(Private {
        range,
        network: NETWORKS.contains(&range),
    })
}

/// The ranges of the IANA special-purpose registry that are not globally
/// reachable, and multicast.
fn private_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (0, ..) => Some("this-network"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("private"),
        (100, 64..=127, _) => Some("carrier-grade-nat"),
        (127, ..) => Some("loopback"),
        (169, 254, _) => Some("link-local"),
        (192, 0, 0) | (192, 88, 99) => Some("protocol-assignments"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("documentation"),
        (198, 18..=19, _) => Some("benchmarking"),
        (224..=239, ..) => Some("multicast"),
        (240..=255, ..) => Some("reserved"),
        _ => None,
    }
}

fn private_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let segments = ip.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        // Mapped (::ffff:a.b.c.d), translated (::ffff:0:a.b.c.d) and the NAT64
        // prefix reach the IPv4 address inside, so that one decides.
        [0, 0, 0, 0, 0, 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => private_v4(embedded(segments[6], segments[7])),
        [0, 0, 0, 0, 0, 0, _, _] => Some("ipv4-compatible"),
        [0x64, 0xff9b, 1, ..] => Some("local-nat64"),
        [0x100, ..] => Some("discard-only"),
        [0x2001, 0, ..] => Some("teredo"),
        [0x2001, second, ..] if second < 0x200 => Some("protocol-assignments"),
        [0x2001, 0xdb8, ..] | [0x3fff, ..] => Some("documentation"),
        [0x2002, ..] => Some("6to4"),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some("unique-local"),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some("link-local"),
        [first, ..] if first & 0xffc0 == 0xfec0 => Some("site-local"),
        [first, ..] if first & 0xff00 == 0xff00 => Some("multicast"),
        // 2000::/3 is all that is assigned to public hosts.
        [first, ..] if first & 0xe000 != 0x2000 => Some("reserved"),
        _ => None,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<&'static str> {
        private_range(text.parse().unwrap()).map(|private| private.range)
    }

    #[test]
    fn every_kind_of_local_address_is_named() {
        for (address, name) in [
            ("0.0.0.0", "this-network"),
            ("10.1.2.3", "private"),
            ("172.31.0.1", "private"),
            ("192.168.0.1", "private"),
            ("100.64.0.1", "carrier-grade-nat"),
            ("127.9.9.9", "loopback"),
            ("169.254.169.254", "link-local"),
            ("192.0.0.8", "protocol-assignments"),
            ("203.0.113.9", "documentation"),
            ("198.19.255.255", "benchmarking"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::127.0.0.1", "ipv4-compatible"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:a9fe:a9fe", "link-local"),
            ("::ffff:0:10.0.0.1", "private"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b:1::1", "local-nat64"),
            ("2001::1", "teredo"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "6to4"),
            ("fd00::1", "unique-local"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("4000::1", "reserved"),
        ] {
            assert_eq!(range(address), Some(name), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_public() {
        for address in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "160.79.104.10",
            "2606:4700:4700::1111",
            "2607:6bc0::10",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert_eq!(range(address), None, "{address}");
        }
    }
}
