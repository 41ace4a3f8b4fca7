//! What the API asks of an actor.

use api::event::{Body, Event};
use api::id::Prefix;
use store::Write;

use super::log::Batch;
use super::{Actor, End, Refused, Request, state_tools};
use crate::session::feed::Delivery;
use crate::session::machine::{Input, Status};
use crate::session::runner::Order;
use crate::session::{Inner, SessionChange};

impl Actor {
    pub(super) async fn request(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Archive(answer) => {
                let refused = self.busy();
                let result = refused.map_or(Ok(()), Err);
                let ended = if refused.is_none() {
                    self.input(Input::Archive).await
                } else {
                    Ok(())
                };
                let _ = answer.send(result);
                ended
            }
            Request::Save(answer) => {
                match self.busy() {
                    Some(refused) => drop(answer.send(Err(refused))),
                    None => self.save_for(answer).await,
                }
                Ok(())
            }
            Request::Revive => {
                self.rest.revive_now();
                Ok(())
            }
            Request::Delete(answer) => {
                let Some(refused) = self.busy() else {
                    self.kill();
                    self.feed.publish([Delivery::new(
                        None,
                        "session.deleted",
                        &deleted(&self.inner),
                    )]);
                    let _ = answer.send(Ok(()));
                    return Err(End::Over);
                };
                let _ = answer.send(Err(refused));
                Ok(())
            }
            Request::Update(change, answer) => {
                let changed = self.update(*change).await;
                let ended = matches!(changed, Err(Change::Ended(_)));
                let _ = answer.send(match &changed {
                    Ok(()) => Ok(()),
                    Err(Change::Refused(refused)) => Err(*refused),
                    Err(Change::Ended(_)) => Err(Refused::Over),
                });
                match changed {
                    Err(Change::Ended(end)) if ended => Err(end),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Why the session cannot be ended now.
    pub(super) fn busy(&self) -> Option<Refused> {
        matches!(self.state.status(), Status::Running | Status::Rescheduling)
            .then_some(Refused::Running)
    }

    pub(super) async fn update(&mut self, change: SessionChange) -> Result<(), Change> {
        if change.update.agent.is_some() && self.state.status() != Status::Idle {
            return Err(Change::Refused(Refused::Running));
        }
        let now = self.inner.clock.now();
        let event = Event {
            id: self.inner.ids.mint(Prefix::Event),
            processed_at: now,
            body: change.shown,
        };
        let mut batch = Batch::default();
        batch.writes.push(Write::Update {
            update: change.update.clone(),
            updated_at: now,
        });
        batch.event(event);
        self.commit(batch).await.map_err(Change::Ended)?;
        if let Some(budget) = change.update.budget {
            self.book.set_budget(
                budget
                    .as_deref()
                    .and_then(|budget| serde_json::from_str(budget).ok())
                    .as_ref(),
            );
            self.row.budget = budget;
            self.state.budget_raised();
        }
        if let Some(agent) = change.update.agent {
            self.row.agent = agent;
            self.state.set_tools(state_tools(&self.row));
            // Another server may be one that a credential is for.
            if let Err(error) = self.inner.bind(&self.row.id, &self.row.workspace_id).await {
                tracing::error!(
                    session.id = self.row.id,
                    error = &error as &dyn std::error::Error,
                    "the credentials of session {} are as before",
                    self.row.id
                );
            }
            if let Some(live) = &self.live {
                // The next prompt starts a claude that knows the new tools, in the same sandbox.
                let _ = live.orders.send(Order::End).await;
                self.state.claude_ended();
            }
        }
        Ok(())
    }
}

/// Why an update did not happen.
pub(super) enum Change {
    Refused(Refused),
    Ended(End),
}

fn deleted(inner: &Inner) -> String {
    Event {
        id: inner.ids.mint(Prefix::Event),
        processed_at: inner.clock.now(),
        body: Body::SessionDeleted {},
    }
    .to_json()
}
