//! A process that the host starts: its stream, from the first frame to the last.

mod launch;
mod pump;
mod source;

use std::{cell::Cell, rc::Rc};

use bytes::BytesMut;
use protocol::{ErrorCode, Frame as _, GuestFrame, Opened, ProcessSpec, Refusal};

use crate::{
    serve::{Guest, refuse},
    wire::Stream,
};

/// Processes at a time that the host may have started; one more is refused. What those start in
/// turn is the control group's to bound.
const PROCESSES_MAX: usize = 128;

/// Counts the processes that run.
#[derive(Clone, Default)]
pub struct Count(Rc<Cell<usize>>);

struct Counted(Count);

impl Count {
    fn enter(&self) -> Option<Counted> {
        if self.0.get() >= PROCESSES_MAX {
            return None;
        }
        self.0.set(self.0.get() + 1);
        Some(Counted(self.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

/// Starts a process and carries its streams until it has ended or the host drops it.
pub async fn serve(guest: &Guest, mut stream: Stream, spec: ProcessSpec) {
    let Some(_counted) = guest.processes.enter() else {
        let message = format!("{PROCESSES_MAX} processes run already");
        return refuse(stream, Refusal::new(ErrorCode::TooMany, message)).await;
    };
    let launched = match launch::launch(&guest.reaper, spec).await {
        Ok(launched) => launched,
        Err(refusal) => return refuse(stream, refusal).await,
    };
    // One write for both, so that the host learns everything at once.
    let mut first = match protocol::encode(&Opened::Ok) {
        Ok(opened) => BytesMut::from(&opened[..]),
        Err(_) => return,
    };
    GuestFrame::Started { pid: launched.pid }.encode(&mut first);
    if stream.send(&first).await.is_ok() {
        pump::pump(&guest.reaper, stream, launched).await;
    }
}
