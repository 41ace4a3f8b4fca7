//! One line of the table of contents: method, path, what it needs, who answers. A route cannot be made
//! without saying what its callers must be good for.

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter};
use http::Method;

use super::dedup;
use crate::app::App;
use crate::auth::{Caller, Need};

/// What a route is, without who answers.
#[derive(Debug, Clone)]
pub struct Line {
    /// The method.
    pub method: Method,
    /// The path below `/v1`, with its placeholders.
    pub path: &'static str,
    /// What it needs.
    pub need: Need,
}

/// A route that is served.
pub(super) struct Route {
    pub(super) line: Line,
    handler: MethodRouter<App>,
    repeatable: bool,
}

/// A route that is answered by `handler`.
pub(super) fn route<H, T>(method: Method, path: &'static str, need: Need, handler: H) -> Route
where
    H: Handler<T, App>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).expect("a method that the contract has");
    Route {
        line: Line { method, path, need },
        handler: MethodRouter::new().on(filter, handler),
        repeatable: false,
    }
}

impl Route {
    /// The same, and a repeated request gets the first answer again.
    pub(super) fn repeatable(mut self) -> Route {
        self.repeatable = true;
        self
    }

    /// Serves it.
    pub(super) fn add(self, router: Router<App>, app: &App) -> Router<App> {
        let Route {
            line: Line { path, need, .. },
            mut handler,
            repeatable,
        } = self;
        if repeatable {
            handler = handler.route_layer(from_fn_with_state(app.clone(), dedup::answer_once));
        }
        // Outermost, so that nothing of a request is looked at before.
        let check = move |caller: Caller, request: Request, next: Next| async move {
            match caller.check(need) {
                Ok(()) => next.run(request).await,
                Err(refused) => refused.into_response(),
            }
        };
        router.route(path, handler.route_layer(from_fn(check)))
    }
}
