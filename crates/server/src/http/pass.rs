//! Whether whoever opened a stream may still read: a key that is revoked or expires ends what it opened.

use futures::future::BoxFuture;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::app::App;
use crate::auth::{Caller, Keys};

/// The right to go on with something that stays open. It is looked at as often as pings are sent.
pub(super) struct Pass {
    keys: Keys,
    caller: Caller,
    every: Interval,
    /// A look that is under way. It is kept when a wait for it is given up, which a busy stream does all
    /// the time.
    look: Option<BoxFuture<'static, bool>>,
}

impl Pass {
    pub(super) fn new(app: &App, caller: Caller) -> Pass {
        let mut every = interval_at(Instant::now() + app.ping, app.ping);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pass {
            keys: app.keys.clone(),
            caller,
            every,
            look: None,
        }
    }

    /// Resolves when the key opens nothing any more.
    pub(super) async fn over(&mut self) {
        loop {
            let look = match &mut self.look {
                Some(look) => look,
                None => {
                    self.every.tick().await;
                    let (keys, caller) = (self.keys.clone(), self.caller.clone());
                    let look = async move { keys.is_good(&caller).await };
                    self.look.insert(Box::pin(look))
                }
            };
            let good = look.await;
            self.look = None;
            if !good {
                return;
            }
        }
    }
}
