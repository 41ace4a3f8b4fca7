//! The two bodies of a call: the request on its way up and the answer on its
//! way down. Both pass frames on as they come and hold none back.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep_until};

use super::call::Call;
use crate::idle::Activity;
use crate::scan::TopLevel;

/// The model that a request names, known once its body has gone by that far.
#[derive(Default)]
pub(crate) struct Asked(OnceLock<String>);

impl Asked {
    /// Longest model name kept, in bytes.
    const MAX: usize = 256;

    pub(crate) fn get(&self) -> Option<String> {
        self.0.get().cloned()
    }
}

/// A request body on its way to the model API: bounded, watched for the model
/// it names.
pub(crate) struct Outgoing {
    inner: Incoming,
    left: u64,
    activity: Activity,
    scan: Option<(TopLevel, Arc<Asked>)>,
}

/// Why a request body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutgoingError {
    /// It is larger than the bound.
    #[error("the request body is too large")]
    TooLarge,
    /// The client stopped sending it.
    #[error("the client stopped sending the request body")]
    Client(#[source] hyper::Error),
}

impl Outgoing {
    pub(crate) fn new(
        inner: Incoming,
        bound: u64,
        activity: Activity,
        asked: Option<Arc<Asked>>,
    ) -> Self {
        let scan = asked.map(|asked| (TopLevel::new(&["model"]), asked));
        Self {
            inner,
            left: bound,
            activity,
            scan,
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        let Some((scan, asked)) = &mut self.scan else {
            return;
        };
        scan.feed(bytes);
        let Some(mut model) = scan.get::<String>("model") else {
            return;
        };
        if model.len() > Asked::MAX {
            model = model.chars().take(Asked::MAX / 4).collect();
        }
        // Set once: this scan is the only one that writes.
        let _ = asked.0.set(model);
        self.scan = None;
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = OutgoingError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutgoingError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Poll::Ready(Some(Err(OutgoingError::Client(error)))),
        };
        self.activity.mark();
        let Ok(data) = frame.into_data() else {
            // Trailers of a request mean nothing to the API.
            return Poll::Ready(None);
        };
        match self.left.checked_sub(data.remaining() as u64) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Some(Err(OutgoingError::TooLarge))),
        }
        self.look(&data);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer to the sandbox.
#[allow(clippy::large_enum_variant, reason = "one per call, moved a few times")]
pub(crate) enum Answer {
    /// Said by egress itself.
    Ours(Full<Bytes>),
    /// Said by the model API.
    Theirs(Passing),
}

/// An answer of the model API as it passes. It holds the call's place in the
/// bound per client and its record until its end.
pub(crate) struct Passing {
    inner: Incoming,
    call: Option<Call>,
    idle: Duration,
    activity: Activity,
    timer: Pin<Box<Sleep>>,
    /// A cut that is due once what came before it is written out.
    due: Option<Cut>,
    _place: OwnedSemaphorePermit,
}

/// Why an answer is cut. The connection to the sandbox is closed without the
/// answer's end, as the API would do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    /// Upstream closed in the middle.
    #[error("the model API cut its answer")]
    Upstream(#[source] hyper::Error),
    /// Upstream went silent.
    #[error("the model API went silent in the middle of its answer")]
    Idle,
}

impl Passing {
    pub(crate) fn new(
        inner: Incoming,
        call: Option<Call>,
        idle: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let activity = Activity::new();
        let timer = Box::pin(sleep_until(activity.last() + idle));
        let mut passing = Self {
            inner,
            call,
            idle,
            activity,
            timer,
            due: None,
            _place: place,
        };
        if passing.inner.is_end_stream() {
            passing.whole();
        }
        passing
    }

    fn whole(&mut self) {
        if let Some(mut call) = self.call.take() {
            call.whole();
        }
    }

    /// Ends the record and yields once: the connection drops what it has not
    /// written when a body fails, and it writes when a body has nothing ready.
    fn cut(&mut self, cause: &'static str, cut: Cut, cx: &Context<'_>) {
        if let Some(mut call) = self.call.take() {
            call.failed(cause, None);
        }
        self.due = Some(cut);
        cx.waker().wake_by_ref();
    }

    /// Ready when nothing came for too long. The timer is moved only when it
    /// fires, so that a frame costs no timer operation.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let deadline = self.activity.last() + self.idle;
            if deadline <= tokio::time::Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(cut) = self.due.take() {
            return Poll::Ready(Some(Err(cut)));
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.activity.mark();
                if let (Some(call), Some(data)) = (&mut self.call, frame.data_ref()) {
                    call.passed(data);
                }
                // A body of known length is not asked again after its last
                // byte.
                if self.inner.is_end_stream() {
                    self.whole();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.cut("upstream_cut", Cut::Upstream(error), cx);
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.whole();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.poll_idle(cx));
                self.cut("upstream_idle", Cut::Idle, cx);
                Poll::Pending
            }
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Ours(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::Theirs(passing) => passing.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours(body) => body.is_end_stream(),
            Self::Theirs(passing) => passing.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ours(body) => body.size_hint(),
            Self::Theirs(passing) => passing.inner.size_hint(),
        }
    }
}
