//! The two bodies of a call: the request on its way up and the answer on its
//! way down. Both pass frames on as they come and hold none back.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep_until};

use super::call::Call;
use crate::idle::Activity;

/// Bytes of a request that are handed on at once.
const PIECE: usize = 64 * 1024;

/// A request body on its way to the model API. Its share of what its client may
/// hold goes with it.
pub(crate) struct Outgoing {
    left: Bytes,
    activity: Activity,
    _share: OwnedSemaphorePermit,
}

impl Outgoing {
    pub(crate) fn new(body: Bytes, activity: Activity, share: OwnedSemaphorePermit) -> Self {
        Self {
            left: body,
            activity,
            _share: share,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        self.activity.mark();
        let piece = self.left.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
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
}

impl Body for Passing {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
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

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
