//! Compares the sandboxes that are meant to exist with those that do, and removes the difference.
//!
//! Takes no input, is safe to repeat, and is run at the start (when everything it finds was left by an
//! earlier server, because a guest dies with its host's end of the link) and from time to time.

use crate::session::Inner;

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
    for observed in listed
        .into_iter()
        .filter(|observed| !inner.fleet().wants(&observed.id))
    {
        match inner.fleet().provider().destroy(&observed.id).await {
            Ok(()) => {
                tracing::info!(sandbox.id = %observed.id, "removed sandbox {}, which nobody wants", observed.id)
            }
            Err(error) => {
                tracing::error!(sandbox.id = %observed.id, error = &error as &dyn std::error::Error, "cannot remove sandbox {}", observed.id);
            }
        }
    }
}
