//! What the guest remembers of a save or restore, so that the next save may leave out what did
//! not change.
//!
//! The kernel's change time of a file says whether *it* changed. But a directory that is moved
//! takes all its files to other paths without touching them, and two directories that change
//! places would look untouched. So each directory's number is kept with its path: where they no
//! longer agree, everything below is sent. And a clock that was set back would hide changes, so
//! how far it was from the steady clock is kept too, and so is which files were mapped.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet, VecDeque, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use protocol::TreeEnd;

/// Moments kept: two for each of the most sessions that share a sandbox, because a save may
/// succeed here and fail at the host. The oldest goes, and costs its session one full save.
const MOMENTS_MAX: usize = 128;

/// Directories of all moments together, 1 MB. Beyond, the oldest moments go; a tree with more by
/// itself is remembered in part, and what is below the rest is sent whenever they change.
const DIRS_MAX: usize = 64 * 1024;

/// The kernel stamps files with the time of its last tick, which is 10 ms ago at most.
const GRAIN_NS: i64 = 20_000_000;

/// The moments that a save may go on from.
pub struct Known {
    began: (SystemTime, Instant),
    hasher: RandomState,
    moments: RefCell<VecDeque<Arc<Moment>>>,
}

/// How the directories lay when a save or restore was done.
pub struct Moment {
    /// Everything that changed later has a change time at or after it.
    pub since_ns: i64,
    /// The wall clock less the steady clock.
    offset_ns: i64,
    roots: Vec<Bytes>,
    hasher: RandomState,
    dirs: HashMap<u64, u64>,
    /// Files that were being written to without a trace.
    pub mapped: HashSet<u64>,
}

impl Known {
    pub fn new() -> Self {
        Self {
            began: (SystemTime::now(), Instant::now()),
            hasher: RandomState::new(),
            moments: RefCell::default(),
        }
    }

    /// What is remembered of a time, if it was one of ours for these roots.
    pub fn at(&self, since_ns: i64, roots: &[Bytes]) -> Option<Arc<Moment>> {
        let moments = self.moments.borrow();
        let found = moments
            .iter()
            .find(|moment| moment.since_ns == since_ns && moment.roots == roots);
        found.cloned()
    }

    /// The moment that begins now.
    pub fn begin(&self, roots: &[Bytes]) -> Moment {
        let mut moment = Moment {
            since_ns: 0,
            offset_ns: 0,
            roots: roots.to_vec(),
            hasher: self.hasher.clone(),
            dirs: HashMap::new(),
            mapped: HashSet::new(),
        };
        self.stamp(&mut moment);
        moment
    }

    /// Makes it a moment of now, with what it knows.
    pub fn stamp(&self, moment: &mut Moment) {
        let now_ns = since_epoch(SystemTime::now());
        let steady = i64::try_from(self.began.1.elapsed().as_nanos()).unwrap_or(i64::MAX);
        moment.offset_ns = now_ns - since_epoch(self.began.0) - steady;
        moment.since_ns = now_ns - GRAIN_NS;
        // Times are names too, so no two are equal; an earlier one is only more careful.
        let moments = self.moments.borrow();
        while moments
            .iter()
            .any(|other| other.since_ns == moment.since_ns)
        {
            moment.since_ns -= 1;
        }
    }

    /// Remembers a moment, and says its time.
    pub fn keep(&self, moment: Moment, mut end: TreeEnd) -> TreeEnd {
        end.since_ns = moment.since_ns;
        let mut moments = self.moments.borrow_mut();
        // Of these roots, the one before stays in case the host could not keep this one.
        let same = |other: &Arc<Moment>| other.roots == moment.roots;
        if moments.iter().filter(|other| same(other)).count() > 1
            && let Some(oldest) = moments.iter().position(same)
        {
            moments.remove(oldest);
        }
        moments.push_back(Arc::new(moment));
        let total = |moments: &VecDeque<Arc<Moment>>| -> usize {
            moments.iter().map(|moment| moment.dirs.len()).sum()
        };
        while moments.len() > 1 && (moments.len() > MOMENTS_MAX || total(&moments) > DIRS_MAX) {
            moments.pop_front();
        }
        end
    }
}

impl Moment {
    /// The paths that are looked at.
    pub fn roots(&self) -> Vec<Bytes> {
        self.roots.clone()
    }

    /// Remembers which directory is at a path.
    pub fn learn(&mut self, path: &[u8], ino: u64) {
        if self.dirs.len() < DIRS_MAX {
            self.dirs.insert(self.hasher.hash_one(path), ino);
        }
    }

    /// Whether this directory was at this path.
    pub fn knows(&self, path: &[u8], ino: u64) -> bool {
        self.dirs.get(&self.hasher.hash_one(path)) == Some(&ino)
    }

    /// The change time at and after which something changed since an older moment.
    pub fn changed_since(&self, older: &Moment) -> i64 {
        let set_back = (older.offset_ns - self.offset_ns).max(0);
        older.since_ns.saturating_sub(set_back)
    }
}

fn since_epoch(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Vec<Bytes> {
        vec![Bytes::from_static(b"workspace")]
    }

    fn keep(known: &Known, directories: u64) -> i64 {
        let mut moment = known.begin(&roots());
        for directory in 0..directories {
            moment.learn(&directory.to_be_bytes(), directory);
        }
        known.keep(moment, TreeEnd::default()).since_ns
    }

    #[test]
    fn a_moment_and_the_one_before_are_known() {
        let known = Known::new();
        let times: Vec<i64> = (0..3).map(|_| keep(&known, 1)).collect();
        let found = times
            .iter()
            .map(|time| known.at(*time, &roots()).is_some())
            .collect::<Vec<_>>();
        assert_eq!(found, [false, true, true]);
        assert!(known.at(times[2], &[]).is_none(), "other roots");
        assert!(known.at(0, &roots()).is_none());
    }

    #[test]
    fn the_memory_is_bounded() {
        let known = Known::new();
        let first = keep(&known, 10);
        let second = keep(&known, DIRS_MAX as u64 + 10);
        assert!(known.at(first, &roots()).is_none());
        let kept = known.at(second, &roots()).expect("the newest stays");
        assert_eq!(kept.dirs.len(), DIRS_MAX);
    }

    #[test]
    fn a_clock_that_was_set_back_widens_what_counts_as_changed() {
        let known = Known::new();
        let older = known.begin(&roots());
        let mut newer = known.begin(&roots());
        newer.offset_ns = older.offset_ns - 5_000;
        assert_eq!(newer.changed_since(&older), older.since_ns - 5_000);
        newer.offset_ns = older.offset_ns + 5_000;
        assert_eq!(newer.changed_since(&older), older.since_ns);
    }
}
