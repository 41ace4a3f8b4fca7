//! An actor and its claude: starting it, telling it, hearing it.

use std::path::{Path, PathBuf};

use api::environment::hosting::Pattern;
use api::event::QueueReason;
use api::id::Prefix;
use bytes::Bytes;
use claude::custom::{Asked as McpAsked, CustomTools};
use claude::frame::{ControlRequestKind, Frame};
use claude::input;
use serde_json::Value;
use store::{TranscriptEntry, Write};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log::Batch;
use super::{Actor, End, Live, NEWS, clients, state_tools};
use crate::session::fleet::{Company, Members, Sitter, Spare, Wait};
use crate::session::machine::{Input, Queued, Tell};
use crate::session::runner::{self, Begin, Ended, News, Order, Start, Surroundings};
use crate::session::translate::translate;
use crate::session::{class, start, uuid_of, version};
use crate::usage::Failed;

/// What a start needs.
struct Planned {
    /// The claude binary.
    cli: PathBuf,
    start: Start,
    /// Nothing has to be brought back, so a spare will do.
    fresh: bool,
}

/// Why claude was not started.
pub(super) enum Unstartable {
    /// In one sentence for people.
    Why(String),
    End(End),
}

impl Unstartable {
    fn why(error: &dyn std::error::Error) -> Unstartable {
        Unstartable::Why(format!("cannot start claude: {error}"))
    }
}

impl Actor {
    pub(super) async fn start(&mut self, interrupted: bool) -> Result<(), End> {
        let planned = match self.plan(interrupted).await {
            Ok(planned) => planned,
            // Remembered, because what else the step that wanted claude did comes first.
            Err(Unstartable::Why(why)) => {
                self.failed_start = Some(why);
                return Ok(());
            }
            Err(Unstartable::End(end)) => return Err(end),
        };
        self.last_sign = Instant::now();
        let Planned { cli, start, fresh } = planned;
        if self.live.is_none() {
            let spare = match fresh {
                true => self.spare(&cli),
                false => None,
            };
            if let Some(spare) = spare {
                // The name of its conversation is kept with what the step logs next, before
                // anything that claude says.
                self.row.claude_session.clone_from(&spare.claude_session);
                self.pending
                    .push(Write::ClaudeSession(spare.claude_session.clone()));
                let mut live = self.sit_down(Begin::Warm(Box::new(spare)));
                live.used = true;
                self.live = Some(live);
                return Ok(());
            }
            let company = self.company(&cli);
            let plan = class::plan(&self.inner, &self.row, &self.hosting, cli);
            self.live = Some(self.sit_down(Begin::Cold(plan, company)));
        }
        if let Some(live) = &mut self.live {
            live.used = true;
            let _ = live.orders.send(Order::Start(Box::new(start))).await;
        }
        Ok(())
    }

    /// The claude binary and how to start it.
    async fn plan(&mut self, interrupted: bool) -> Result<Planned, Unstartable> {
        let asked = version::asked(&self.row.agent);
        let installed = self
            .inner
            .version(asked.as_ref(), self.hosting.cli.as_ref());
        let cli = installed.map_err(|error| Unstartable::why(&error))?.path;
        let files = self.inner.store.transcripts().load(&self.row.id).await;
        let files = files.map_err(|error| Unstartable::why(&error))?;
        let resumable = start::resumable(&files);
        let new_seat = !self.live.as_ref().is_some_and(|live| live.used);
        let snapshot = match new_seat {
            true => self.snapshot().await?,
            false => None,
        };
        // Where claude has been, or where its files come back to.
        let known = !new_seat || snapshot.is_some();
        let session = self
            .conversation(!resumable, known, interrupted)
            .await
            .map_err(Unstartable::End)?;
        // Also where a claude has been before: what it had written down itself, but not yet told us, would
        // be known to its next one alone; and the agent can write to its file, or remove it.
        let transcript = if resumable {
            let made = start::transcript(&self.row.claude_session, &files);
            made.map_err(|error| Unstartable::why(&error))?
        } else {
            None
        };
        let agent: Value = serde_json::from_str(&self.row.agent).unwrap_or_default();
        let tools = state_tools(&self.row);
        self.custom = CustomTools::new(start::custom(&tools));
        let limits = class::limits(&self.inner, &self.hosting);
        let mut launch = start::launch(&agent, &tools, session, limits);
        let given = self.inner.vaults.given(&self.row).await;
        let given = given.map_err(|error| Unstartable::why(&error))?;
        launch.extra_env.extend(given.variables);
        let fresh = !interrupted && !resumable && snapshot.is_none();
        let start = Start {
            launch,
            snapshot,
            transcript,
            first_word: self.inner.settings.start_timeout,
        };
        Ok(Planned { cli, start, fresh })
    }

    /// The last snapshot of the session's files.
    async fn snapshot(&self) -> Result<Option<snapshot::SnapshotId>, Unstartable> {
        let latest = self.inner.store.snapshots().latest(&self.row.id).await;
        let latest = latest.map_err(|error| Unstartable::why(&error))?;
        let id = latest.map(|row| row.snapshot.id.parse()).transpose();
        id.map_err(|error| Unstartable::why(&error))
    }

    /// Which conversation claude carries on. One of which nothing was mirrored is begun anew, and under
    /// a new id where it may be `known`: claude refuses an id whose transcript it finds.
    async fn conversation(
        &mut self,
        new: bool,
        known: bool,
        interrupted: bool,
    ) -> Result<claude::launch::Session, End> {
        if !new {
            return Ok(claude::launch::Session::Resume {
                id: self.row.claude_session.clone(),
                interrupted,
            });
        }
        if known {
            self.row.claude_session = uuid_of(&self.inner.ids.mint(Prefix::Event));
            let writes = vec![Write::ClaudeSession(self.row.claude_session.clone())];
            self.commit(Batch {
                writes,
                shown: Vec::new(),
            })
            .await?;
        }
        Ok(claude::launch::Session::New(
            self.row.claude_session.clone(),
        ))
    }

    /// A sandbox that was made ready for a session like this one.
    fn spare(&self, cli: &Path) -> Option<Spare> {
        let class = class::of(&self.inner, &self.row, &self.hosting, cli)?;
        self.inner.fleet.claim(class)
    }

    /// With whom the session sits.
    fn company(&self, cli: &Path) -> Company {
        let shared = self.hosting.pattern == Pattern::Shared;
        if !self.hosting.has_company() {
            return Company::Alone;
        }
        // A changed environment and another claude make sandboxes of their own; those who work together
        // stay together.
        let version = match shared {
            true => String::new(),
            false => uuid_of(&format!("{} {}", self.row.environment, cli.display())),
        };
        Company::Among(Members {
            group: format!("{}/{version}", self.row.environment_id),
            max: self.hosting.max_sessions,
            name: self.row.id.clone(),
            shared,
        })
    }

    fn sit_down(&self, begin: Begin) -> Live {
        let (order_sender, orders) = mpsc::channel(runner::ORDERS);
        let (news_sender, news) = mpsc::channel(NEWS);
        let stop = CancellationToken::new();
        let alone = !self.hosting.has_company();
        let placeholder = match alone {
            true => start::PLACEHOLDER_KEY.to_owned(),
            // Others reach this session's port, so what is shown there must be its own.
            false => format!(
                "{}-{}",
                start::PLACEHOLDER_KEY,
                self.inner.ids.mint(Prefix::Event)
            ),
        };
        let sitter = Sitter {
            client: egress::ClientId(self.row.id.clone()),
            key: (!alone).then(|| egress::Placeholder::new(&placeholder)),
            news: news_sender,
        };
        let around = Surroundings {
            fleet: self.inner.fleet.clone(),
            sitter,
            placeholder,
            keeping: self
                .inner
                .keeping
                .of(&self.row.id, &self.row.environment_id),
        };
        let token = stop.clone();
        self.inner
            .tasks
            .spawn(runner::run(begin, around, orders, token));
        Live {
            orders: order_sender,
            news,
            stop,
            used: false,
            up: None,
        }
    }

    /// Ends claude and its sandbox; what they still say is not heard.
    pub(super) fn kill(&mut self) {
        if let Some(live) = self.live.take() {
            live.stop.cancel();
        }
    }

    pub(super) async fn order(&mut self, line: Bytes) {
        self.last_sign = Instant::now();
        self.rest.disturb();
        if let Some(live) = &self.live {
            // A runner that ended says so as news; the line is then of no use.
            let _ = live.orders.send(Order::Line(line)).await;
        }
    }

    pub(super) async fn tell(&mut self, tell: Tell) {
        let line = match tell {
            Tell::Prompt(prompt) => match input::user(&prompt.uuid, &prompt.content) {
                Ok(line) => line,
                Err(_) => return,
            },
            Tell::Interrupt => {
                self.requests += 1;
                input::interrupt(&format!("interrupt_{}", self.requests), true)
            }
            Tell::Allow { request_id } => input::allow(&request_id, None),
            Tell::Deny {
                request_id,
                message,
            } => input::deny(&request_id, &message, false),
            Tell::ToolResult {
                request_id,
                rpc_id,
                content,
                is_error,
            } => input::mcp_reply(
                &request_id,
                &clients::mcp_result(&rpc_id, &content, is_error),
            ),
        };
        self.order(line).await;
    }

    pub(super) async fn news(&mut self, news: Option<News>) -> Result<(), End> {
        self.last_sign = Instant::now();
        match news {
            Some(News::Up) => {
                if let Some(live) = &mut self.live {
                    live.up = Some(Instant::now());
                }
                Ok(())
            }
            Some(News::Parked(parked)) => self.parked(parked).await,
            Some(News::Outputs(outputs)) => self.outputs(outputs).await,
            Some(News::Left(kept)) => self.left(kept).await,
            Some(News::Frame(frame)) => self.frame(*frame).await,
            Some(News::Queued(wait)) => self.input(Input::Queued(queued(wait))).await,
            Some(News::Limit(message)) => self.input(Input::Limit(message)).await,
            Some(News::ClaudeEnded(ended)) => self.lost(ended).await,
            Some(News::Ended(ended)) if self.rest.leaves() => self.gone(ended).await,
            Some(News::Ended(ended)) => {
                self.live = None;
                self.lost(ended).await
            }
            None => {
                self.live = None;
                let ended = Ended::new("the sandbox's runner failed", true);
                self.lost(ended).await
            }
        }
    }

    /// Says which credentials failed.
    pub(super) async fn failed(&mut self) -> Result<(), End> {
        for Failed { server, message } in self.book.failures() {
            self.input(Input::CredentialFailed { server, message })
                .await?;
        }
        Ok(())
    }

    pub(super) async fn lost(&mut self, ended: Ended) -> Result<(), End> {
        self.rest.disturb();
        self.rest.lost(self.hosting.pattern);
        let Ended { why, again } = ended;
        self.input(Input::Lost { why, again }).await
    }

    pub(super) async fn frame(&mut self, frame: Frame) -> Result<(), End> {
        let request = match frame {
            Frame::Mirror(mirror) => return self.mirror(mirror).await,
            Frame::ControlRequest(request) => request,
            frame => return self.said(frame).await,
        };
        let line = match request.kind {
            ControlRequestKind::CanUseTool(_) => {
                return self.said(Frame::ControlRequest(request)).await;
            }
            ControlRequestKind::McpMessage(message) => match self.custom.answer(&message.message) {
                McpAsked::Reply(reply) | McpAsked::Cancelled { reply, .. } => {
                    input::mcp_reply(&request.request_id, &reply)
                }
                McpAsked::Call(call) => {
                    let run = clients::run_custom(request.request_id, call);
                    return self.input(Input::Said(run)).await;
                }
            },
            ControlRequestKind::HookCallback(hook) => {
                if let Some(left) = hook.own_work() {
                    self.rest.owes(left);
                }
                input::success(&request.request_id, &serde_json::json!({}))
            }
            ControlRequestKind::Other { .. } => {
                input::failure(&request.request_id, "this host does not serve that request")
            }
        };
        self.order(line).await;
        Ok(())
    }

    pub(super) async fn said(&mut self, frame: Frame) -> Result<(), End> {
        for said in translate(frame) {
            self.input(Input::Said(said)).await?;
        }
        Ok(())
    }

    /// Keeps what claude appended to its transcript. Frames come in order, so a turn's entries are kept
    /// before its result is logged.
    pub(super) async fn mirror(&mut self, mirror: claude::frame::Mirror) -> Result<(), End> {
        let key = match claude::transcript::key(&mirror) {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "claude mirrored a file with a strange name"
                );
                return Ok(());
            }
        };
        let entries = mirror.entries.iter().map(|entry| TranscriptEntry {
            subpath: key.subpath.clone(),
            uuid: claude::transcript::entry_uuid(entry),
            body: entry.get().to_owned(),
        });
        let writes = vec![Write::Transcript(entries.collect())];
        self.commit(Batch {
            writes,
            shown: Vec::new(),
        })
        .await
    }
}

/// Where a session stands, in the contract's words.
fn queued(wait: Wait) -> Queued {
    let (position, reason) = match wait {
        Wait::Place(position) => (position, QueueReason::ServerFull),
        Wait::Quota(position) => (position, QueueReason::WorkspaceLimit),
    };
    Queued { position, reason }
}
