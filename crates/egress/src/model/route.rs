//! Which requests of the model way are let through.

use http::{Method, StatusCode};

use crate::answer::Refusal;

/// A request that has a way through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/messages/count_tokens`, which is free of charge.
    CountTokens,
    /// `GET|HEAD /v1/models` and `/v1/models/{id}`.
    Models,
    /// `GET|HEAD /api/hello`, the CLI's probe. It needs no key, so it gets none.
    Hello,
}

impl Route {
    /// The route of a request, or the refusal that names its path.
    ///
    /// Paths are compared as they are written. An escaped or dotted spelling of
    /// a listed path is not listed, so no two readers can differ about it.
    pub(super) fn of(method: &Method, path: &str) -> Result<Self, Refusal> {
        let reads = *method == Method::GET || *method == Method::HEAD;
        let (route, allowed) = match path {
            "/v1/messages" => (Self::Messages, *method == Method::POST),
            "/v1/messages/count_tokens" => (Self::CountTokens, *method == Method::POST),
            "/v1/models" => (Self::Models, reads),
            "/api/hello" => (Self::Hello, reads),
            _ if path.strip_prefix("/v1/models/").is_some_and(is_model_id) => (Self::Models, reads),
            _ => return Err(not_listed(path)),
        };
        match allowed {
            true => Ok(route),
            false => Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "invalid_request_error",
                "method",
                format!("{method} is not a method of {path} (rule: model-paths)"),
            )),
        }
    }

    /// What the route is called in records.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Models => "/v1/models",
            Self::Hello => "/api/hello",
        }
    }

    /// Whether money is set aside and a record is kept.
    pub(super) fn is_call(self) -> bool {
        matches!(self, Self::Messages | Self::CountTokens)
    }

    /// Whether the real key is put in.
    pub(super) fn takes_key(self) -> bool {
        self != Self::Hello
    }
}

fn is_model_id(id: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@');
    (1..=128).contains(&id.len()) && id.bytes().all(plain) && !id.starts_with('.')
}

fn not_listed(path: &str) -> Refusal {
    let shown: String = path.chars().take(200).collect();
    Refusal::new(
        StatusCode::NOT_FOUND,
        "not_found_error",
        "model_paths",
        format!(
            "{shown} is not a path that a sandbox may call on the model API (rule: model-paths)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_paths_have_a_route() {
        for (method, path, route) in [
            (Method::POST, "/v1/messages", Route::Messages),
            (
                Method::POST,
                "/v1/messages/count_tokens",
                Route::CountTokens,
            ),
            (Method::GET, "/v1/models", Route::Models),
            (Method::GET, "/v1/models/claude-opus-5-5", Route::Models),
            (Method::HEAD, "/api/hello", Route::Hello),
        ] {
            assert_eq!(Route::of(&method, path).unwrap(), route, "{path}");
        }
    }

    #[test]
    fn other_paths_are_refused_by_name() {
        for path in [
            "/",
            "/v1",
            "/v1/messages/",
            "//v1/messages",
            "/v1/messages/batches",
            "/v1/files",
            "/v1/organizations/api_keys",
            "/v1/models/",
            "/v1/models/..",
            "/v1/models/a/b",
            "/v1/models/..%2fmessages",
            "/v1/%6dessages",
            "/v1/models/../messages",
            "/V1/messages",
            "/api/hello/x",
            "*",
            "/api/oauth/profile",
        ] {
            let refusal = Route::of(&Method::POST, path).unwrap_err();
            assert_eq!(refusal.status, StatusCode::NOT_FOUND);
            assert!(refusal.message.contains(path), "{path}");
        }
    }

    #[test]
    fn a_wrong_method_is_named() {
        let refusal = Route::of(&Method::DELETE, "/v1/messages").unwrap_err();
        assert_eq!(refusal.status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(refusal.message.contains("DELETE"));
    }
}
