//! Which address stands for which name. A name has the same one as long as the guest lives, by a hash
//! that only the guest knows; no two have one in common.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// Names at a time.
const NAMES_MAX: usize = 256;

/// How long a name that was asked for keeps its place, at least: longer than anybody remembers an
/// address without asking again.
const KEPT: Duration = Duration::from_secs(60);

/// The first address that stands for a name, and how many there are: 127.64.0.0/10, but for its
/// first 256, where the resolver is, and its last.
const FIRST: u32 = u32::from_be_bytes([127, 64, 1, 0]);
const ADDRESSES: u32 = (1 << 22) - 512;

/// Names with their addresses, and what is kept of each.
pub struct Names<T> {
    known: HashMap<String, Known<T>>,
    hash: RandomState,
}

struct Known<T> {
    address: Ipv4Addr,
    asked: Instant,
    kept: T,
}

impl<T: Default> Names<T> {
    pub fn new() -> Self {
        Self {
            known: HashMap::new(),
            hash: RandomState::new(),
        }
    }

    /// The address of a name that was asked for now, and what is kept of it. Where there is no
    /// place, the name that was not asked for longest loses its own; `None` when all of them were
    /// asked for lately.
    pub fn of(&mut self, name: &str, now: Instant) -> Option<(Ipv4Addr, &mut T)> {
        if !self.known.contains_key(name) {
            if self.known.len() >= NAMES_MAX && !self.forget_one(name, now) {
                return None;
            }
            let address = self.free(name);
            let (asked, kept) = (now, T::default());
            let known = Known {
                address,
                asked,
                kept,
            };
            self.known.insert(name.to_owned(), known);
        }
        let known = self.known.get_mut(name)?;
        known.asked = now;
        Some((known.address, &mut known.kept))
    }

    /// Forgets the name that was not asked for longest, but for `spared`; false when all were asked
    /// for lately.
    pub fn forget_one(&mut self, spared: &str, now: Instant) -> bool {
        let others = self.known.iter().filter(|(name, _)| *name != spared);
        let oldest = others.min_by_key(|(_, known)| known.asked);
        let Some((name, known)) = oldest else {
            return false;
        };
        if now.saturating_duration_since(known.asked) < KEPT {
            return false;
        }
        let name = name.clone();
        self.known.remove(&name);
        true
    }

    /// What is kept of all names.
    pub fn kept(&self) -> impl Iterator<Item = &T> {
        self.known.values().map(|known| &known.kept)
    }

    /// The address for a name; the next one where another has it.
    fn free(&self, name: &str) -> Ipv4Addr {
        let mut place = (self.hash.hash_one(name) % u64::from(ADDRESSES)) as u32;
        loop {
            let address = Ipv4Addr::from(FIRST + place);
            // There are far more addresses than names.
            if self.known.values().all(|known| known.address != address) {
                return address;
            }
            place = (place + 1) % ADDRESSES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address_and_no_two_have_one() {
        let (mut names, now) = (Names::<()>::new(), Instant::now());
        let mut all = Vec::new();
        for number in 0..NAMES_MAX {
            let name = format!("{number}.example");
            let (address, ()) = names.of(&name, now).unwrap();
            let [a, b, ..] = address.octets();
            assert!(a == 127 && (64..128).contains(&b), "{address}");
            all.push((name, address));
        }
        let mut different: Vec<_> = all.iter().map(|(_, address)| address).collect();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), NAMES_MAX);
        for (name, address) in &all {
            assert_eq!(names.of(name, now).unwrap().0, *address);
        }
    }

    #[test]
    fn without_a_place_the_oldest_gives_up_its_own_when_it_is_old_enough() {
        let (mut names, start) = (Names::<()>::new(), Instant::now());
        let first = names.of("first.example", start).unwrap().0;
        for number in 1..NAMES_MAX {
            names.of(&format!("{number}.example"), start + KEPT / 2);
        }
        assert!(names.of("new.example", start + KEPT / 2).is_none());
        assert!(names.of("new.example", start + KEPT).is_some());
        assert!(names.of("other.example", start + KEPT).is_none());
        // And has the same one when it is asked for again.
        assert_eq!(
            names.of("first.example", start + 2 * KEPT).unwrap().0,
            first
        );
    }
}
