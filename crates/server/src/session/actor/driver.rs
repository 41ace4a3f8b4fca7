//! An actor and its claude: starting it, telling it, hearing it.

use std::path::PathBuf;

use api::id::Prefix;
use bytes::Bytes;
use claude::custom::{Asked as McpAsked, CustomTools};
use claude::frame::{ControlRequestKind, Frame};
use claude::input;
use sandbox::SandboxId;
use serde_json::Value;
use store::{TranscriptEntry, Write};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log::Batch;
use super::{Actor, End, Live, NEWS, clients, state_tools};
use crate::session::machine::{Input, Tell};
use crate::session::runner::{self, News, Order, Plan, Start, Surroundings};
use crate::session::translate::translate;
use crate::session::{start, uuid_of};

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
        let (cli, start) = match self.plan(interrupted).await {
            Ok(planned) => planned,
            // Remembered, because what else the step that wanted claude did comes first.
            Err(Unstartable::Why(why)) => {
                self.failed_start = Some(why);
                return Ok(());
            }
            Err(Unstartable::End(end)) => return Err(end),
        };
        if self.live.is_none() {
            self.live = Some(self.make_sandbox(cli));
        }
        if let Some(live) = &mut self.live {
            live.used = true;
            let _ = live.orders.send(Order::Start(Box::new(start))).await;
        }
        self.last_sign = Instant::now();
        Ok(())
    }

    /// The claude binary and how to start it.
    pub(super) async fn plan(
        &mut self,
        interrupted: bool,
    ) -> Result<(PathBuf, Start), Unstartable> {
        let installed = self
            .inner
            .versions
            .resolve(self.inner.settings.cli.as_ref());
        let cli = installed.map_err(|error| Unstartable::why(&error))?.path;
        let files = self.inner.store.transcripts().load(&self.row.id).await;
        let files = files.map_err(|error| Unstartable::why(&error))?;
        let resumable = start::resumable(&files);
        let session = self
            .conversation(!resumable, interrupted)
            .await
            .map_err(Unstartable::End)?;
        let fresh = !self.live.as_ref().is_some_and(|live| live.used);
        let transcript = if fresh && resumable {
            let made = start::transcript(&self.row.claude_session, &files);
            made.map_err(|error| Unstartable::why(&error))?
        } else {
            None
        };
        let agent: Value = serde_json::from_str(&self.row.agent).unwrap_or_default();
        let tools = state_tools(&self.row);
        self.custom = CustomTools::new(start::custom(&tools));
        let launch = start::launch(&agent, &tools, session, self.inner.settings.launch);
        Ok((
            cli,
            Start {
                launch,
                transcript,
                first_word: self.inner.settings.start_timeout,
            },
        ))
    }

    /// Which conversation claude carries on. One of which nothing was mirrored is begun anew, under a
    /// new id: claude refuses an id whose transcript it finds.
    pub(super) async fn conversation(
        &mut self,
        new: bool,
        interrupted: bool,
    ) -> Result<claude::launch::Session, End> {
        if !new {
            return Ok(claude::launch::Session::Resume {
                id: self.row.claude_session.clone(),
                interrupted,
            });
        }
        if self.live.as_ref().is_some_and(|live| live.used) {
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

    pub(super) fn make_sandbox(&self, cli: PathBuf) -> Live {
        let settings = &self.inner.settings;
        let (order_sender, orders) = mpsc::channel(runner::ORDERS);
        let (news_sender, news) = mpsc::channel(NEWS);
        let stop = CancellationToken::new();
        let plan = Plan {
            sandbox: sandbox_id(&self.inner.ids),
            rootfs: settings.rootfs.clone(),
            resources: settings.resources,
            cli,
        };
        let around = Surroundings {
            provider: self.inner.provider.clone(),
            places: self.inner.places.clone(),
            egress: self.inner.egress.clone(),
            client: egress::ClientId(self.row.id.clone()),
            news: news_sender,
        };
        self.inner.sandbox_made(&plan.sandbox);
        let (inner, id) = (self.inner.clone(), plan.sandbox.clone());
        let token = stop.clone();
        self.inner.tasks.spawn(async move {
            runner::run(plan, around, orders, token).await;
            inner.sandbox_gone(&id);
        });
        Live {
            orders: order_sender,
            news,
            stop,
            used: false,
            up: false,
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
                    live.up = true;
                }
                Ok(())
            }
            Some(News::Frame(frame)) => self.frame(*frame).await,
            Some(News::Limit(message)) => self.input(Input::Limit(message)).await,
            Some(News::ClaudeEnded(ended)) => {
                self.input(Input::Lost {
                    why: ended.why,
                    again: ended.again,
                })
                .await
            }
            Some(News::Ended(ended)) => {
                self.live = None;
                self.input(Input::Lost {
                    why: ended.why,
                    again: ended.again,
                })
                .await
            }
            None => {
                self.live = None;
                self.input(Input::Lost {
                    why: "the sandbox's runner failed".to_owned(),
                    again: true,
                })
                .await
            }
        }
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
            ControlRequestKind::HookCallback(_) | ControlRequestKind::Other { .. } => {
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

/// A sandbox's name: the random part of an id, in the characters that every provider takes.
fn sandbox_id(ids: &crate::ids::Ids) -> SandboxId {
    let name = uuid_of(&ids.mint(Prefix::Session));
    name.parse().expect("a uuid is a sandbox id")
}
