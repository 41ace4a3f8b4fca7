use super::*;

/// A packet of IPv4 with this on top.
fn v4(protocol: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
    bytes[2..4].copy_from_slice(&((V4 + content.len()) as u16).to_be_bytes());
    bytes.extend([192, 0, 0, 8, 8, 8, 4, 4]);
    bytes.extend(content);
    bytes
}

fn v6(protocol: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, content.len() as u8, protocol, 64];
    bytes.extend("100::1".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend(content);
    bytes
}

/// From port 4000 to port 53.
const UDP_TO_53: [u8; 10] = [0x0f, 0xa0, 0, 53, 0, 10, 0, 0, b'h', b'i'];

fn syn() -> Vec<u8> {
    let mut bytes = vec![0x0f, 0xa0, 1, 187, 0, 0, 0, 9, 0, 0, 0, 0, 5 << 4, SYN];
    bytes.extend([0; 6]);
    bytes
}

#[test]
fn what_was_sent_is_told_by_protocol_place_and_port() {
    for (bytes, protocol, to) in [
        (v4(UDP, &UDP_TO_53), UDP, "8.8.4.4:53"),
        (v4(TCP, &syn()), TCP, "8.8.4.4:443"),
        (v6(UDP, &UDP_TO_53), UDP, "[2001:db8::2]:53"),
        (v4(ICMP, &[8, 0, 0, 0]), ICMP, "8.8.4.4:0"),
        (v4(47, &[1]), 47, "8.8.4.4:0"),
    ] {
        let packet = read(&bytes).unwrap();
        assert_eq!(
            (packet.protocol, packet.to),
            (protocol, to.parse().unwrap())
        );
    }
}

#[test]
fn a_connection_is_refused_with_its_own_numbers() {
    for bytes in [v4(TCP, &syn()), v6(TCP, &syn())] {
        let packet = read(&bytes).unwrap();
        let refusal = packet.refusal().unwrap();
        let back = read(&refusal).unwrap();
        assert_eq!((back.from, back.to), (packet.to, packet.from));
        assert_eq!(back.content[4..12], [0, 0, 0, 0, 0, 0, 0, 10]);
        assert_eq!(back.content[13], RST | ACK);
        assert!(adds_up(&refusal));
        // And nobody refuses a refusal.
        assert_eq!(back.refusal(), None);
    }
}

#[test]
fn other_packets_are_answered_with_an_error_that_repeats_them() {
    for (bytes, kind) in [
        (v4(UDP, &UDP_TO_53), [3, 3]),
        (v6(UDP, &UDP_TO_53), [1, 4]),
        (v4(47, &[1, 2]), [3, 13]),
    ] {
        let packet = read(&bytes).unwrap();
        let refusal = packet.refusal().unwrap();
        let back = read(&refusal).unwrap();
        assert_eq!(back.to.ip(), packet.from.ip());
        assert_eq!(back.content[..2], kind);
        assert_eq!(back.content[UNREACHABLE_LEN..], bytes);
        assert!(adds_up(&refusal));
        assert_eq!(back.refusal(), None);
    }
}

#[test]
fn nonsense_and_what_the_kernel_sends_is_nothing() {
    assert_eq!(read(&[]), None);
    for whole in [v4(TCP, &syn()), v6(UDP, &UDP_TO_53)] {
        for len in 0..whole.len() {
            // Whatever it is taken for, it must not be answered with nonsense.
            if let Some(packet) = read(&whole[..len]) {
                let _ = packet.refusal();
            }
        }
    }
    assert_eq!(read(&v6(ICMP_V6, &[133, 0, 0, 0])), None);
    assert_eq!(read(&v6(0, &[58, 0])), None);
    let mut multicast = v4(UDP, &UDP_TO_53);
    multicast[16..20].copy_from_slice(&[224, 0, 0, 251]);
    assert_eq!(read(&multicast).unwrap().refusal(), None);
}

/// Whether a packet's own sum is right.
fn adds_up(bytes: &[u8]) -> bool {
    let packet = read(bytes).unwrap();
    let length = packet.content.len() as u32;
    let mut pseudo = Vec::new();
    match bytes[0] >> 4 {
        4 if packet.protocol == ICMP => {}
        4 => pseudo.extend(&bytes[12..20]),
        _ => pseudo.extend(&bytes[8..40]),
    }
    if !pseudo.is_empty() {
        pseudo.extend(length.to_be_bytes());
        pseudo.extend([0, 0, 0, packet.protocol]);
    }
    checksum(&[&pseudo, packet.content]) == 0
}
