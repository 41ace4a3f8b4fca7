//! The server's places, shared fairly by its workspaces: the waiting around [`queue`], which has the
//! rules. Whoever waits is told where it stands.

pub mod queue;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use queue::{Name, Quota, Size, Wait};
use queue::{Queue, Ticket};

/// The places. Clones are the same.
#[derive(Clone)]
pub struct Places(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Rings when anything changed, so that whoever waits looks again.
    changed: Notify,
    /// Rings for one idle session at a time, whosever it is: its place is needed.
    pressure: Notify,
    /// The same for the idle sessions of one workspace, for each that has any.
    idle: Mutex<HashMap<Name, Idle>>,
}

/// The idle sessions of one workspace that could give up their sandboxes.
#[derive(Default)]
struct Idle {
    sessions: usize,
    pressure: Arc<Notify>,
}

/// A place that is taken. Dropping it gives it back.
pub struct Held {
    places: Places,
    name: Name,
    size: Size,
}

/// A place in the line; dropping it leaves.
pub struct Line {
    places: Places,
    ticket: Ticket,
    name: Name,
    size: Size,
    /// What was told last.
    told: Option<Wait>,
    /// How many places had been given when an idle session was last asked to go.
    pressed: Option<u64>,
}

impl Places {
    /// So many places, all free.
    pub fn new(places: usize) -> Places {
        Places(Arc::new(Shared {
            queue: Mutex::new(Queue::new(places)),
            changed: Notify::new(),
            pressure: Notify::new(),
            idle: Mutex::default(),
        }))
    }

    /// What a workspace may hold from now on.
    pub fn set_quota(&self, name: &str, quota: Quota) {
        self.lock().set_quota(name.into(), quota);
        self.0.changed.notify_waiters();
    }

    /// Whether a sandbox of this size could ever be the workspace's.
    pub fn is_possible(&self, name: &Name, size: Size) -> bool {
        self.lock().is_possible(name, size)
    }

    /// Gets into the line.
    pub fn line_up(&self, name: &Name, size: Size) -> Line {
        Line {
            ticket: self.lock().join(name.clone(), size),
            places: self.clone(),
            name: name.clone(),
            size,
            told: None,
            pressed: None,
        }
    }

    /// A place that nobody waits for.
    pub fn take_spare(&self, name: &Name, size: Size) -> Option<Held> {
        let taken = self.lock().take_spare(name, size);
        taken.then(|| self.held(name, size))
    }

    /// Whether every place is taken or waited for.
    pub fn is_full(&self) -> bool {
        self.lock().is_full()
    }

    /// Resolves when the caller, an idle session of this workspace, should give up its sandbox.
    pub async fn pressed(&self, name: &str) {
        let here = Here::new(self, name);
        tokio::select! {
            () = here.pressure.notified() => {}
            () = self.0.pressure.notified() => {}
        }
    }

    /// Asks an idle session to go: one of its own, where the workspace is what is full; else one of the
    /// workspace that holds the most, or whichever is idle next.
    fn press(&self, name: &Name, wait: Wait) {
        let mut idle = self.lock_idle();
        if let Wait::Quota(_) = wait {
            idle.entry(name.clone()).or_default().pressure.notify_one();
            return;
        }
        let queue = self.lock();
        let most = idle
            .iter()
            .filter(|(_, idle)| idle.sessions > 0)
            .max_by_key(|(name, _)| queue.sandboxes(name));
        match most {
            Some((_, idle)) => idle.pressure.notify_one(),
            None => self.0.pressure.notify_one(),
        }
    }

    fn held(&self, name: &Name, size: Size) -> Held {
        Held {
            places: self.clone(),
            name: name.clone(),
            size,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_idle(&self) -> MutexGuard<'_, HashMap<Name, Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Waits for a place, or for news of what it waits for: at first, when that becomes something else,
    /// and when half of those before are gone, so that a long line costs few words.
    ///
    /// # Errors
    /// The news; go on waiting then.
    pub async fn step(&mut self) -> Result<Held, Wait> {
        let places = self.places.clone();
        loop {
            let changed = places.0.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let (judged, given) = {
                let mut queue = places.lock();
                (queue.take(self.ticket), queue.given())
            };
            if let Err(wait) = judged {
                self.press(wait, given);
            }
            match judged {
                Ok(()) => {
                    // Who is next has moved up, and there may be another place.
                    places.0.changed.notify_waiters();
                    return Ok(places.held(&self.name, self.size));
                }
                Err(wait) if self.told.is_none_or(|told| is_news(told, wait)) => {
                    self.told = Some(wait);
                    return Err(wait);
                }
                Err(_) => {}
            }
            changed.await;
        }
    }

    /// Asks an idle session to go: when one begins to wait, and for whoever is next once more after each
    /// place that was given, because that place was what the last one who was asked gave up.
    fn press(&mut self, wait: Wait, given: u64) {
        let next = matches!(wait, Wait::Place(1) | Wait::Quota(1));
        if self.pressed.is_none() || (next && self.pressed != Some(given)) {
            self.pressed = Some(given);
            self.places.press(&self.name, wait);
        }
    }
}

fn is_news(last: Wait, now: Wait) -> bool {
    match (last, now) {
        (Wait::Place(before), Wait::Place(now)) | (Wait::Quota(before), Wait::Quota(now)) => {
            now <= before / 2
        }
        _ => true,
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.lock().give_back(&self.name, self.size);
        self.places.0.changed.notify_waiters();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.places.lock().leave(self.ticket);
        self.places.0.changed.notify_waiters();
    }
}

/// An idle session, as long as it can be asked.
struct Here<'a> {
    places: &'a Places,
    name: Name,
    pressure: Arc<Notify>,
}

impl Here<'_> {
    fn new<'a>(places: &'a Places, name: &str) -> Here<'a> {
        let name: Name = name.into();
        let mut idle = places.lock_idle();
        let here = idle.entry(name.clone()).or_default();
        here.sessions += 1;
        let pressure = here.pressure.clone();
        drop(idle);
        Here {
            places,
            name,
            pressure,
        }
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        if let Some(idle) = self.places.lock_idle().get_mut(&self.name) {
            idle.sessions = idle.sessions.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const SIZE: Size = Size { memory: 1, disk: 1 };

    fn name(text: &str) -> Name {
        text.into()
    }

    #[tokio::test]
    async fn one_that_waits_is_told_few_words_and_gets_its_place() {
        let places = Places::new(8);
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(places.take_spare(&name("a"), SIZE).unwrap());
        }
        let words = Arc::new(Mutex::new(Vec::new()));
        let takers: Vec<_> = (0..8)
            .map(|taker| {
                let (places, words) = (places.clone(), words.clone());
                tokio::spawn(async move {
                    let mut line = places.line_up(&name("a"), SIZE);
                    loop {
                        match line.step().await {
                            Ok(held) => break held,
                            Err(wait) => words.lock().unwrap().push((taker, wait)),
                        }
                    }
                })
            })
            .collect();
        for taker in takers {
            tokio::task::yield_now().await;
            held.pop();
            held.insert(0, taker.await.unwrap());
        }
        let words = words.lock().unwrap();
        let last: Vec<Wait> = words
            .iter()
            .filter(|word| word.0 == 7)
            .map(|word| word.1)
            .collect();
        assert_eq!(last.first(), Some(&Wait::Place(8)));
        assert!(last.len() <= 4, "{last:?}");
    }

    #[tokio::test]
    async fn one_that_goes_away_is_in_nobodys_way() {
        let places = Places::new(1);
        let held = places.take_spare(&name("a"), SIZE).unwrap();
        let [mut first, mut second] = [(), ()].map(|()| places.line_up(&name("b"), SIZE));
        assert_eq!(first.step().await.err(), Some(Wait::Place(1)));
        assert_eq!(second.step().await.err(), Some(Wait::Place(2)));
        drop(first);
        assert_eq!(second.step().await.err(), Some(Wait::Place(1)));
        drop(held);
        assert!(second.step().await.is_ok());
    }

    #[tokio::test]
    async fn a_full_workspace_presses_its_own_idle_sessions_alone() {
        let places = Places::new(9);
        let quota = Quota {
            sandboxes: Some(1),
            ..Quota::default()
        };
        places.set_quota("a", quota);
        let held = places.take_spare(&name("a"), SIZE).unwrap();
        let mut mine = Box::pin(places.pressed("a"));
        let mut theirs = Box::pin(places.pressed("b"));
        assert!(futures::poll!(mine.as_mut()).is_pending());
        assert!(futures::poll!(theirs.as_mut()).is_pending());
        let mut next = places.line_up(&name("a"), SIZE);
        assert_eq!(next.step().await.err(), Some(Wait::Quota(1)));
        assert!(futures::poll!(theirs.as_mut()).is_pending());
        mine.await;
        drop(held);
        assert!(next.step().await.is_ok());
    }

    #[tokio::test]
    async fn whoever_is_next_asks_again_after_each_place_that_was_given() {
        let places = Places::new(1);
        let held = places.take_spare(&name("a"), SIZE).unwrap();
        let [mut first, mut second] = [(), ()].map(|()| places.line_up(&name("a"), SIZE));
        // Nobody is idle when they come, so both ask whoever is next.
        assert!(first.step().await.is_err() && second.step().await.is_err());
        places.pressed("a").await;
        drop(held);
        let held = first.step().await.ok().unwrap();
        assert_eq!(second.step().await.err(), Some(Wait::Place(1)));
        places.pressed("a").await;
        drop(held);
        assert!(second.step().await.is_ok());
    }

    #[tokio::test]
    async fn a_full_server_presses_whoever_holds_the_most() {
        let places = Places::new(3);
        let _held: Vec<Held> = ["a", "b", "b"]
            .map(|text| places.take_spare(&name(text), SIZE).unwrap())
            .into();
        let mut few = Box::pin(places.pressed("a"));
        let mut many = Box::pin(places.pressed("b"));
        assert!(futures::poll!(few.as_mut()).is_pending());
        assert!(futures::poll!(many.as_mut()).is_pending());
        let mut next = places.line_up(&name("c"), SIZE);
        assert_eq!(next.step().await.err(), Some(Wait::Place(1)));
        assert!(futures::poll!(few.as_mut()).is_pending());
        many.await;
    }
}
