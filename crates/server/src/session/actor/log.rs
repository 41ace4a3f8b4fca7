//! An actor's commits: what the machine logs becomes rows, and then what readers see.

use api::event::{Body, Event};
use api::id::Prefix;
use store::{CommitError, NewEvent, Write};

use super::{Actor, End, RETRY_COMMIT};
use crate::session::feed::Delivery;
use crate::session::machine::{Entry, Status};

/// Consecutive log entries on their way into one commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    /// Kind and body of the events among them, in order.
    pub(super) shown: Vec<(String, String)>,
}

impl Actor {
    pub(super) async fn log(&mut self, entry: Entry, batch: &mut Batch) -> Result<(), End> {
        let now = self.inner.clock.now();
        match entry {
            Entry::Event { id, body } => batch.event(Event {
                id,
                processed_at: now,
                body,
            }),
            Entry::Usage => {
                let usage = serde_json::to_value(self.book.shown(self.clock.seconds()))
                    .expect("usage is plain data");
                let budget = self
                    .row
                    .budget
                    .as_deref()
                    .and_then(|budget| serde_json::from_str(budget).ok());
                batch.writes.push(Write::Usage(usage.to_string()));
                batch
                    .writes
                    .push(Write::Stats(self.clock.stats(now).to_string()));
                let id = self.inner.ids.mint(Prefix::Event);
                batch.event(Event {
                    id,
                    processed_at: now,
                    body: Body::SessionUsage { usage, budget },
                });
            }
            Entry::Processed(id) => {
                let Some((kind, body)) = self.processed(&id, now).await? else {
                    return Ok(());
                };
                batch.writes.push(Write::Process {
                    id,
                    processed_at: now,
                    body: body.clone(),
                });
                batch.shown.push((kind, body));
            }
            Entry::Status(status, attention) => {
                self.clock.status(status);
                let status = match status {
                    Status::Idle => store::Status::Idle,
                    Status::Running => store::Status::Running,
                    Status::Rescheduling => store::Status::Rescheduling,
                    Status::Terminated => {
                        batch.writes.push(Write::Archive { at: now });
                        return Ok(());
                    }
                };
                batch.writes.push(Write::Status {
                    status,
                    attention,
                    updated_at: now,
                });
            }
            Entry::Done => {
                self.clock.status(Status::Terminated);
                batch.writes.push(Write::Status {
                    status: store::Status::Terminated,
                    attention: false,
                    updated_at: now,
                });
            }
        }
        Ok(())
    }

    /// Commits and then shows. While the disk is full or failing it tries again, and what claude says
    /// waits: nothing is shown that is not kept.
    pub(super) async fn commit(&mut self, batch: Batch) -> Result<(), End> {
        if batch.writes.is_empty() {
            return Ok(());
        }
        let Batch { mut writes, shown } = batch;
        writes.append(&mut self.pending);
        let appended = loop {
            match self
                .inner
                .store
                .events()
                .commit(&self.row.id, self.fence, writes.clone())
                .await
            {
                Ok(appended) => break appended,
                Err(CommitError::Store(error)) if error.is_transient() => {
                    tracing::error!(session.id = %self.row.id, error = &error as &dyn std::error::Error, "cannot write to the log; trying again");
                    tokio::select! {
                        () = self.inner.shutdown.cancelled() => return Err(End::Drain),
                        () = tokio::time::sleep(RETRY_COMMIT) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(session.id = %self.row.id, error = &error as &dyn std::error::Error, "session {} is left to its new owner", self.row.id);
                    return Err(End::Over);
                }
            }
        };
        let events = appended.iter().zip(&shown);
        self.feed.publish(
            events.map(|(appended, (kind, body))| Delivery::new(Some(appended.seq), kind, body)),
        );
        Ok(())
    }
}

impl Batch {
    pub(super) fn event(&mut self, event: Event) {
        let (kind, body) = (event.kind().to_owned(), event.to_json());
        self.shown.push((kind.clone(), body.clone()));
        self.writes.push(Write::Append(NewEvent {
            id: event.id,
            kind,
            processed_at: event.processed_at,
            body,
        }));
    }
}
