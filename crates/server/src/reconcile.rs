//! Compares the sandboxes that are meant to exist with those that do, and removes the difference.
//!
//! Takes no input, is safe to repeat, and is run at the start (when everything it finds was left by an
//! earlier server, because a guest dies with its host's end of the link) and from time to time.

use futures::StreamExt as _;

use crate::session::Inner;

/// Sandboxes that are destroyed at one time: most of it is waiting for the kernel, and a starting
/// server waits for all of them.
const AT_ONCE: usize = 16;

/// Destroys every sandbox that nobody wants. What cannot be destroyed now is tried again next time.
pub async fn reconcile(inner: &Inner) {
    let listed = match inner.fleet().provider().list().await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot list sandboxes"
            );
            return;
        }
    };
    // Sandboxes are wanted before they are made and until they are gone, so a listed one that is not
    // wanted is nobody's.
    let nobodys = listed
        .into_iter()
        .map(|observed| observed.id)
        .filter(|id| !inner.fleet().wants(id));
    futures::stream::iter(nobodys)
        .for_each_concurrent(AT_ONCE, |id| async move {
            match inner.fleet().provider().destroy(&id).await {
                Ok(()) => {
                    tracing::info!(sandbox.id = %id, "removed sandbox {id}, which nobody wants");
                }
                Err(error) => {
                    tracing::error!(sandbox.id = %id, error = &error as &dyn std::error::Error, "cannot remove sandbox {id}");
                }
            }
        })
        .await;
}
