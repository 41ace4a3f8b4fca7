//! Who gets the next place, as a function of plain values: what each workspace holds and may hold, and
//! who waits. Knows no tasks and no clock.
//!
//! A free place goes to the workspace that holds the fewest, of several to the one that was given none for
//! the longest time, then to whoever has waited longest. Within a workspace the order is that of coming. One that holds as much as it may is passed over and takes
//! nobody's turn. So a workspace with many sessions cannot keep another waiting for more than one place
//! to become free.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// A workspace's id.
pub type Name = Arc<str>;

/// The place in the line of one that waits.
pub type Ticket = u64;

/// What a workspace may hold at once; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Sandboxes.
    pub sandboxes: Option<u32>,
    /// Bytes of memory that they may use together.
    pub memory: Option<u64>,
    /// Bytes of disk that they may use together.
    pub disk: Option<u64>,
}

/// What one sandbox may use, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Memory.
    pub memory: u64,
    /// Disk.
    pub disk: u64,
}

/// For what somebody waits, and how many go before, this one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// For a place: every one of the server is taken.
    Place(u32),
    /// For its own workspace, which holds as much as it may.
    Quota(u32),
}

/// What a workspace holds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    sandboxes: u32,
    /// The number of the place that it was given last; 0 is none.
    last: u64,
    memory: u64,
    disk: u64,
}

impl Held {
    /// With one more, which is this place.
    fn with(self, size: Size, place: u64) -> Held {
        Held {
            sandboxes: self.sandboxes + 1,
            last: place,
            memory: self.memory.saturating_add(size.memory),
            disk: self.disk.saturating_add(size.disk),
        }
    }

    fn without(self, size: Size) -> Held {
        Held {
            sandboxes: self.sandboxes.saturating_sub(1),
            last: self.last,
            memory: self.memory.saturating_sub(size.memory),
            disk: self.disk.saturating_sub(size.disk),
        }
    }

    fn fits(self, quota: Quota) -> bool {
        quota.sandboxes.is_none_or(|max| self.sandboxes <= max)
            && quota.memory.is_none_or(|max| self.memory <= max)
            && quota.disk.is_none_or(|max| self.disk <= max)
    }
}

/// The places of a server and those who wait for one.
#[derive(Debug)]
pub struct Queue {
    free: usize,
    /// Of those that hold something or wait.
    held: HashMap<Name, Held>,
    /// One for each workspace that has any.
    quotas: HashMap<Name, Quota>,
    /// As many as there are sessions that want to run.
    waiting: BTreeMap<Ticket, (Name, Size)>,
    /// Of all that wait; worked out anew with every change.
    waits: HashMap<Ticket, Wait>,
    last: Ticket,
    given: u64,
}

impl Queue {
    /// So many places, all free.
    pub fn new(places: usize) -> Queue {
        Queue {
            free: places,
            held: HashMap::new(),
            quotas: HashMap::new(),
            waiting: BTreeMap::new(),
            waits: HashMap::new(),
            last: 0,
            given: 0,
        }
    }

    /// What a workspace may hold from now on. What it holds beyond stays.
    pub fn set_quota(&mut self, name: Name, quota: Quota) {
        match quota == Quota::default() {
            true => self.quotas.remove(&name),
            false => self.quotas.insert(name, quota),
        };
        self.arrange();
    }

    /// Whether a sandbox of this size could ever be the workspace's.
    pub fn is_possible(&self, name: &Name, size: Size) -> bool {
        let quota = Quota {
            // None at all means later.
            sandboxes: None,
            ..self.quota(name)
        };
        Held::default().with(size, 0).fits(quota)
    }

    /// One more waits.
    pub fn join(&mut self, name: Name, size: Size) -> Ticket {
        self.last += 1;
        self.waiting.insert(self.last, (name, size));
        self.arrange();
        self.last
    }

    /// One waits no more.
    pub fn leave(&mut self, ticket: Ticket) {
        if self.waiting.remove(&ticket).is_some() {
            self.arrange();
        }
    }

    /// Takes a place, when it is this one's turn; else what it waits for.
    ///
    /// # Errors
    /// When it has to wait, or does not wait at all: then for the last place.
    pub fn take(&mut self, ticket: Ticket) -> Result<(), Wait> {
        let wait = self.waits.get(&ticket).copied();
        let wait = wait.unwrap_or(Wait::Place(u32::MAX));
        if self.free == 0 || wait != Wait::Place(1) {
            return Err(wait);
        }
        if let Some((name, size)) = self.waiting.remove(&ticket) {
            self.hold(name, size);
        }
        Ok(())
    }

    /// Takes a place that nobody waits for, when there is one that fits.
    pub fn take_spare(&mut self, name: &Name, size: Size) -> bool {
        let fits = self.holds(name).with(size, 0).fits(self.quota(name));
        let spare = !self.is_full() && fits;
        if spare {
            self.hold(name.clone(), size);
        }
        spare
    }

    /// Whether every place is taken or waited for.
    pub fn is_full(&self) -> bool {
        self.free == 0
            || self
                .waits
                .values()
                .any(|wait| matches!(wait, Wait::Place(_)))
    }

    /// A place is free again.
    pub fn give_back(&mut self, name: &Name, size: Size) {
        self.free += 1;
        let left = self.holds(name).without(size);
        self.held.insert(name.clone(), left);
        self.arrange();
    }

    /// How many places were given so far.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// How many sandboxes a workspace holds.
    pub fn sandboxes(&self, name: &Name) -> u32 {
        self.holds(name).sandboxes
    }

    fn hold(&mut self, name: Name, size: Size) {
        self.free -= 1;
        self.given += 1;
        let held = self.holds(&name).with(size, self.given);
        self.held.insert(name, held);
        self.arrange();
    }

    fn holds(&self, name: &Name) -> Held {
        self.held.get(name).copied().unwrap_or_default()
    }

    fn quota(&self, name: &Name) -> Quota {
        self.quotas.get(name).copied().unwrap_or_default()
    }

    /// Says of all that wait who goes when, as if one place after the other became free and none that is
    /// held now were given back.
    fn arrange(&mut self) {
        self.forget();
        let mut lines: HashMap<&Name, VecDeque<(Ticket, Size)>> = HashMap::new();
        for (ticket, (name, size)) in &self.waiting {
            lines.entry(name).or_default().push_back((*ticket, *size));
        }
        let mut held: HashMap<&Name, Held> =
            lines.keys().map(|name| (*name, self.holds(name))).collect();
        let mut heads = BTreeSet::new();
        for (name, line) in &lines {
            self.line_up(name, line, &held, &mut heads);
        }
        let mut waits = HashMap::new();
        let mut position = 0;
        while let Some((_, _, ticket, name)) = heads.pop_first() {
            position += 1;
            waits.insert(ticket, Wait::Place(position));
            let Some(line) = lines.get_mut(name) else {
                continue;
            };
            if let (Some((_, size)), Some(held)) = (line.pop_front(), held.get_mut(name)) {
                *held = held.with(size, self.given + u64::from(position));
            }
            self.line_up(name, line, &held, &mut heads);
        }
        for line in lines.values() {
            for ((ticket, _), position) in line.iter().zip(1..) {
                waits.insert(*ticket, Wait::Quota(position));
            }
        }
        self.waits = waits;
    }

    /// Forgets workspaces that hold nothing and wait for nothing.
    fn forget(&mut self) {
        let waiting: HashSet<&Name> = self.waiting.values().map(|(name, _)| name).collect();
        self.held
            .retain(|name, held| held.sandboxes > 0 || waiting.contains(name));
    }

    /// Puts the first of a workspace's line among those whose turn it may be, if its quota allows.
    fn line_up<'a>(
        &self,
        name: &'a Name,
        line: &VecDeque<(Ticket, Size)>,
        held: &HashMap<&Name, Held>,
        heads: &mut BTreeSet<(u32, u64, Ticket, &'a Name)>,
    ) {
        let (Some((ticket, size)), Some(held)) = (line.front(), held.get(name)) else {
            return;
        };
        if held.with(*size, 0).fits(self.quota(name)) {
            heads.insert((held.sandboxes, held.last, *ticket, name));
        }
    }
}

#[cfg(test)]
mod tests;
