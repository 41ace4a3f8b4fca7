//! How many connections each peer has, so that one cannot take all of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The counts. Clones share them.
#[derive(Clone)]
pub(super) struct Peers {
    most: usize,
    /// No more entries than there are connections.
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection of a peer, while it lives.
pub(super) struct Counted {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    /// At most so many for each.
    pub(super) fn new(most: usize) -> Peers {
        Peers {
            most,
            counts: Arc::default(),
        }
    }

    /// Counts one more; `None` when the peer has as many as it may. Loopback is a proxy or the machine
    /// itself, and may have all.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<Counted> {
        let peer = whole(peer);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= self.most && !peer.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Counted {
            peers: self.clone(),
            peer,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self
            .peers
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// What one peer is: an address, of version 6 a network of 64 bits, which is what one customer has.
fn whole(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_share_and_gets_it_back() {
        let peers = Peers::new(2);
        let enter = |peer: &str| peers.enter(peer.parse().unwrap());
        let (first, second) = (
            enter("192.0.2.1").unwrap(),
            enter("::ffff:192.0.2.1").unwrap(),
        );
        assert!(enter("192.0.2.1").is_none());
        let other = enter("192.0.2.2").unwrap();
        drop(first);
        let third = enter("192.0.2.1").unwrap();
        drop((second, third, other));
        assert!(peers.counts.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_is_one_peer_and_loopback_is_none() {
        let peers = Peers::new(1);
        let enter = |peer: &str| peers.enter(peer.parse().unwrap());
        let _one = enter("2001:db8::1").unwrap();
        assert!(enter("2001:db8::2").is_none());
        let _other = enter("2001:db8:0:1::1").unwrap();
        let local: Vec<_> = ["127.0.0.1", "127.0.0.1", "::1", "::1"].map(enter).into();
        assert!(local.iter().all(Option::is_some));
    }
}
