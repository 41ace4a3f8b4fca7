//! The record of one decision, from its making to the end of what was decided about.
//!
//! There is one record for each request, tunnel and refusal, however it ends: the last of those who hold
//! an [`Entry`] hands it over. What carries bytes for longer has one for each minute, with the bytes of
//! that minute, so that no more than this is lost with the process. A record says who, where to, by
//! which rule and how much, and never holds a header, a query or a body.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::time::Instant;
use tracing::info;

use crate::answer::Refusal;
use crate::policy::Target;
use crate::secret::Slot;
use crate::usage::ClientId;
use crate::windows::{Audit, Owner, Standing};

/// How long what is under way goes on without a record: what is lost with the process at most.
const PIECE: Duration = Duration::from_secs(60);

/// What a record says of whatever goes on after it.
const GOES_ON: &str = "goes-on";

/// Characters of a path that a record holds; the rest is cut off.
const LONGEST_PATH: usize = 1024;

/// One decision and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose request it was.
    pub client: ClientId,
    /// Whose the client is; `None` when it is not known.
    pub owner: Option<Arc<Owner>>,
    /// When it came.
    pub at: SystemTime,
    /// From there to its end.
    pub latency: Duration,
    /// Where to, as far as that could be read: a host without its port.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// The method; `CONNECT` for a tunnel that was not looked into.
    pub method: Option<String>,
    /// The path without its query, where it was seen.
    pub path: Option<String>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// The rule that said so.
    pub rule: String,
    /// The status that the client got, if it got one.
    pub status: Option<u16>,
    /// Bytes of bodies or of the tunnel that came in.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
    /// The credentials that were put in, or would have been, by their slots and with commas between.
    pub credential: Option<String>,
    /// What ended it early, in a word; `None` when it came to its own end. `goes-on` when it has not
    /// ended: more records of it follow.
    pub cut: Option<&'static str>,
    /// How many attempts it stands for, where they are recorded together.
    pub attempts: Option<u64>,
}

/// A record that is being made. All who have a part in a request share it.
pub(crate) struct Entry {
    sink: Arc<dyn Audit>,
    standing: Option<Standing>,
    /// What is not recorded yet began here.
    began: Mutex<Instant>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    record: Mutex<Record>,
}

/// A limit on bytes was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session has used up its {0}")]
pub(crate) struct Spent(pub(crate) &'static str);

impl Entry {
    pub(crate) fn new(
        sink: Arc<dyn Audit>,
        client: ClientId,
        standing: Option<Standing>,
        at: SystemTime,
    ) -> Self {
        let owner = standing
            .as_ref()
            .map(|standing| Arc::clone(&standing.owner));
        Self {
            sink,
            standing,
            began: Mutex::new(Instant::now()),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            record: Mutex::new(Record {
                client,
                owner,
                at,
                latency: Duration::ZERO,
                host: None,
                port: None,
                method: None,
                path: None,
                allowed: false,
                // Until something else is known, whoever asked has left.
                rule: "client-left".to_owned(),
                status: None,
                bytes_in: 0,
                bytes_out: 0,
                credential: None,
                cut: None,
                attempts: None,
            }),
        }
    }

    /// It wants to go here.
    pub(crate) fn to(&self, target: &Target) {
        let mut record = self.lock();
        record.host = Some(target.host.clone());
        record.port = Some(target.port);
    }

    /// It asks for this.
    pub(crate) fn asks(&self, method: &str, path: Option<&str>) {
        let mut record = self.lock();
        record.method = Some(method.chars().take(32).collect());
        record.path = path.map(|path| path.chars().take(LONGEST_PATH).collect());
    }

    /// It may.
    pub(crate) fn allowed(&self, rule: String) {
        let mut record = self.lock();
        record.allowed = true;
        record.rule = rule;
    }

    /// This credential is put in, or would have been.
    pub(crate) fn carries(&self, slot: &Slot) {
        let mut record = self.lock();
        match &mut record.credential {
            Some(names) if names.split(',').any(|name| name == slot.0) => {}
            Some(names) => {
                names.push(',');
                names.push_str(&slot.0);
            }
            none => *none = Some(slot.0.clone()),
        }
    }

    /// The host said a credential back, which was taken out.
    pub(crate) fn echoed(&self, slot: &Slot) {
        let record = self.lock();
        let (client, host) = (&record.client, record.host.as_deref().unwrap_or_default());
        tracing::warn!(
            client.id = %client, host, credential.id = slot.0,
            "{host} said credential {} back, which was taken out of its answer", slot.0
        );
    }

    /// It is on its way there.
    pub(crate) fn reaches(&self, target: &Target) {
        let record = self.lock();
        let (client, rule) = (&record.client, &record.rule);
        info!(
            client.id = %client, host = %target, rule, verdict = "allowed",
            "{client} reaches {target} by rule {rule}"
        );
    }

    /// There is nothing to tell: others tell what was asked on this connection.
    pub(crate) fn forget(&self) {
        self.lock().rule.clear();
    }

    /// It may not, or could not.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        let mut record = self.lock();
        record.status = Some(refusal.status.as_u16());
        if record.allowed && !refusal.denies {
            // What was allowed and then failed stays allowed, by its rule.
            record.cut = Some(refusal.cause);
        } else {
            record.allowed = false;
            record.rule.clone_from(&refusal.rule);
        }
        let (client, rule) = (&record.client, &refusal.rule);
        match (&record.host, record.port) {
            (Some(host), Some(port)) => info!(
                client.id = %client, host = %format_args!("{host}:{port}"), rule, verdict = "refused",
                "{client} does not reach {host}:{port} by rule {rule}"
            ),
            _ => info!(
                client.id = %client, rule, verdict = "refused",
                "{client} sent the proxy a request that breaks rule {rule}"
            ),
        }
    }

    /// This was answered.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.lock().status = Some(status.as_u16());
    }

    /// It ends early, for this reason.
    pub(crate) fn cut(&self, why: &'static str) {
        self.lock().cut.get_or_insert(why);
    }

    /// Counts bytes that came in; an error when there may be no more.
    pub(crate) fn came_in(&self, bytes: usize) -> Result<(), Spent> {
        let bytes = bytes as u64;
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        if let Some(standing) = &self.standing {
            standing.traffic.came_in(bytes);
        }
        self.check()
    }

    /// Counts bytes that go out; an error when there may be no more.
    pub(crate) fn went_out(&self, bytes: usize) -> Result<(), Spent> {
        let bytes = bytes as u64;
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        if let Some(standing) = &self.standing {
            standing.traffic.went_out(bytes);
        }
        self.check()
    }

    fn check(&self) -> Result<(), Spent> {
        self.piece();
        let spent = self.standing.as_ref().and_then(Standing::spent);
        let Some(spent) = spent else { return Ok(()) };
        self.cut(spent.0);
        Err(spent)
    }

    /// Records what went so far, once in a while.
    fn piece(&self) {
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        if began.elapsed() < PIECE {
            return;
        }
        let mut record = self.lock();
        let mut piece = self.taken(&record, began.elapsed());
        piece.cut = Some(GOES_ON);
        *began = Instant::now();
        record.at += piece.latency;
        drop(record);
        self.sink.record(piece);
    }

    /// The record with what went since the last one.
    fn taken(&self, record: &Record, latency: Duration) -> Record {
        Record {
            latency,
            bytes_in: self.bytes_in.swap(0, Ordering::Relaxed),
            bytes_out: self.bytes_out.swap(0, Ordering::Relaxed),
            ..record.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let record = self.lock();
        if record.rule.is_empty() {
            return;
        }
        let began = *self.began.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.taken(&record, began.elapsed());
        drop(record);
        self.sink.record(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Record>>);

    impl Audit for Kept {
        fn record(&self, record: Record) {
            self.0.lock().unwrap().push(record);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_a_minute_of_what_is_under_way_is_without_a_record() {
        let kept = Arc::new(Kept::default());
        let client = ClientId("s1".into());
        let entry = Entry::new(kept.clone(), client, None, SystemTime::UNIX_EPOCH);
        entry.allowed("rules.0".to_owned());
        for _ in 0..200 {
            entry.came_in(10).unwrap();
            entry.went_out(1).unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let after = |count: usize| {
            let kept = kept.0.lock().unwrap();
            assert_eq!(kept.len(), count);
            let sum = |of: fn(&Record) -> u64| kept.iter().map(of).sum::<u64>();
            (
                sum(|record| record.bytes_in),
                sum(|record| record.bytes_out),
            )
        };
        let (came, went) = after(3);
        assert!(came >= 2000 - 10 * 60 && went >= 200 - 60, "{came} {went}");
        drop(entry);
        assert_eq!(after(4), (2000, 200));
        let kept = kept.0.lock().unwrap();
        let cuts: Vec<_> = kept.iter().map(|record| record.cut).collect();
        assert_eq!(cuts, [Some(GOES_ON), Some(GOES_ON), Some(GOES_ON), None]);
        let end = kept[3].at + kept[3].latency;
        assert_eq!(end, SystemTime::UNIX_EPOCH + Duration::from_secs(200));
        assert!(kept.iter().all(|record| record.rule == "rules.0"));
    }
}
