//! Credentials on their way into the requests to one host, and out of its answers.
//!
//! ```text
//!   sandbox ── placeholder ──▶ Keys ── value ──▶ host
//!   sandbox ◀─ placeholder ─── Keys ◀─ value ─── host
//! ```
//!
//! A value goes to the hosts that it is bound to, over TLS (or within this machine), into headers but
//! for those in [`NEVER`] and into bodies. In `Authorization: Basic` it is searched for behind the base64,
//! because git and others know no other way. A placeholder anywhere else in a request's head refuses the
//! request; in a body that gets no value it stays what it is, a text without meaning.
//!
//! What such a host answers is searched for the values of everything that is bound to it, as they are, as
//! they stand in addresses and in JSON, and in base64 as it was sent. So it is asked for bodies that are
//! not compressed and whole, and whatever it encodes nevertheless is refused.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, HOST, HeaderName,
    IF_RANGE, ORIGIN, RANGE, REFERER, SEC_WEBSOCKET_EXTENSIONS, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::body::{Counted, Way};
use super::forbidden;
use super::requests::Line;
use crate::answer::Refusal;
use crate::audit::Entry;
use crate::bound::{Binding, Put};
use crate::head::bad;
use crate::path;
use crate::policy::{Policy, Target};
use crate::replace::{Pair, Pairs, Replacer, forms};
use crate::secret::{CredentialError, Secret, Slot};

/// Headers that no value is put into: they say who asks or where from, and are written to logs.
const NEVER: [HeaderName; 5] = [COOKIE, HOST, ORIGIN, REFERER, USER_AGENT];

/// Bodies up to this are held until they are whole, so that their length can be told and they can be
/// sent again with a new token. Longer ones pass as they come, without a length.
const HELD: u64 = 1 << 20;

/// The credentials that requests to one host get.
pub(super) struct Keys {
    policy: Arc<Policy>,
    target: Target,
    /// Whether values may be sent at all.
    secure: bool,
    keys: Vec<Key>,
    /// The one that goes in as bearer token, by its place.
    bearer: Option<usize>,
    /// Base64 as it was sent, with what the sandbox had in its place.
    basic: Vec<(Slot, String, String)>,
}

struct Key {
    binding: Binding,
    value: Secret,
}

impl Keys {
    /// Opens what is bound to a host.
    pub(super) async fn of(
        line: &Line,
        policy: Arc<Policy>,
        target: &Target,
        asked: &str,
    ) -> Result<Self, Refusal> {
        let mut keys = Self {
            secure: line.is_tls() || target.ip.is_some_and(|ip| ip.is_loopback()),
            target: target.clone(),
            keys: Vec::new(),
            bearer: None,
            basic: Vec::new(),
            policy: Arc::clone(&policy),
        };
        let bearer = bearer(&policy, target, asked);
        let store = &line.visit.way.credentials;
        for binding in policy.bound.iter().filter(|it| it.covers(&policy, target)) {
            let goes_in = bearer.is_some_and(|bearer| bearer.slot == binding.slot);
            let value = match goes_in {
                true => store.fresh(&line.visit.client, &binding.slot).await,
                false => store.resolve(&binding.slot).await,
            };
            let value = match value {
                Ok(value) => value,
                Err(CredentialError::Missing) => continue,
                Err(error) => return Err(unusable(target, &binding.slot, &error)),
            };
            if goes_in {
                keys.bearer = Some(keys.keys.len());
            }
            let binding = binding.clone();
            keys.keys.push(Key { binding, value });
        }
        Ok(keys)
    }

    /// Puts values into a request's head.
    pub(super) fn put_in(&mut self, parts: &mut Parts, entry: &Entry) -> Result<(), Refusal> {
        self.check_address(&parts.uri, entry)?;
        let bearer = self.bearer.filter(|_| self.secure);
        let allowed = self.swaps(|header, _| header);
        for (name, value) in &mut parts.headers {
            if name.as_str().starts_with("proxy-") {
                // It ends here.
                continue;
            }
            let allowed = match NEVER.contains(name) {
                true => &Pairs::default(),
                false => &allowed,
            };
            let plain = basic(name, value);
            let text = plain.as_deref().unwrap_or(value.as_bytes());
            if let Some(stray) = self.stray(text, allowed) {
                return Err(self.misplaced(stray, &format!("in the header `{name}`"), entry));
            }
            let Some(new) = allowed.replace(text) else {
                continue;
            };
            for slot in allowed.found_in(text) {
                entry.carries(slot);
                if bearer.is_some() && name == AUTHORIZATION {
                    return Err(self.ambiguous(slot));
                }
                if plain.is_some() {
                    let sent = STANDARD.encode(&new);
                    let had = STANDARD.encode(text);
                    self.basic.push((slot.clone(), sent, had));
                }
            }
            let new = match plain {
                Some(_) => Secret::of(STANDARD.encode(&new).into_bytes()).header("Basic "),
                None => Secret::of(new.to_vec()).header(""),
            };
            *value = new.map_err(|error| self.unusable(allowed.found_in(text).next(), &error))?;
        }
        if let Some(at) = bearer {
            self.bear(at, &mut parts.headers, entry)?;
        }
        if !self.keys.is_empty() {
            let identity = HeaderValue::from_static("identity");
            parts.headers.insert(ACCEPT_ENCODING, identity);
            for name in [RANGE, IF_RANGE, SEC_WEBSOCKET_EXTENSIONS] {
                parts.headers.remove(name);
            }
        }
        Ok(())
    }

    /// The body as the host gets it, with its whole content where that is held.
    pub(super) async fn outgoing(
        &self,
        headers: &mut HeaderMap,
        body: Incoming,
        entry: &Arc<Entry>,
    ) -> Result<(Counted, Option<Bytes>), Refusal> {
        let mut pairs = self.swaps(|_, body| body);
        if is_encoded(headers) {
            pairs = Pairs::default();
        }
        let length = body.size_hint().exact();
        let empty = length == Some(0) || body.is_end_stream();
        let body = Counted::new(body, Arc::clone(entry), Way::Out);
        let wanted = !pairs.is_empty() || self.bearer.is_some();
        if wanted && (empty || length.is_some_and(|length| length <= HELD)) {
            let whole = body.collect().await;
            let whole = whole.map_err(|_| bad("its body broke off"))?.to_bytes();
            for slot in pairs.found_in(&whole) {
                entry.carries(slot);
            }
            let whole = pairs.replace(&whole).unwrap_or(whole);
            if headers.contains_key(CONTENT_LENGTH) {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
            }
            let body = Counted::held(whole.clone(), Arc::clone(entry));
            return Ok((body, Some(whole)));
        }
        if !pairs.is_empty() {
            headers.remove(CONTENT_LENGTH);
        }
        Ok((body.replacing(pairs), None))
    }

    /// Puts another token in where the host refused the one before; whether there is one.
    pub(super) async fn renew(
        &mut self,
        line: &Line,
        headers: &mut HeaderMap,
        entry: &Entry,
    ) -> Result<bool, Refusal> {
        let Some(at) = self.bearer.filter(|_| self.secure) else {
            return Ok(false);
        };
        let Key { binding, value } = &self.keys[at];
        let store = &line.visit.way.credentials;
        let renewed = store
            .renewed(&line.visit.client, &binding.slot, value)
            .await;
        let renewed = renewed.map_err(|error| self.unusable(Some(&binding.slot), &error))?;
        let Some(value) = renewed else {
            return Ok(false);
        };
        let binding = binding.clone();
        // The one before stays, for answers that say it back.
        self.keys.push(Key { binding, value });
        self.bearer = Some(self.keys.len() - 1);
        self.bear(self.keys.len() - 1, headers, entry)?;
        Ok(true)
    }

    /// What is taken out of answers.
    pub(super) fn taken_out(&self) -> Pairs {
        let mut pairs = Vec::new();
        for Key { binding, value } in &self.keys {
            let instead = match binding.placeholder() {
                Some(placeholder) => Bytes::copy_from_slice(placeholder.bytes()),
                None => Bytes::copy_from_slice(binding.slot.0.as_bytes()),
            };
            for text in forms(value.bytes()) {
                pairs.push(Pair {
                    text,
                    instead: instead.clone(),
                    slot: binding.slot.clone(),
                });
            }
        }
        for (slot, sent, had) in &self.basic {
            pairs.push(Pair {
                text: Secret::new(sent.trim_end_matches('=')),
                instead: Bytes::copy_from_slice(had.trim_end_matches('=').as_bytes()),
                slot: slot.clone(),
            });
        }
        Pairs::new(pairs)
    }

    /// Takes values out of the head of an answer; refuses one whose body cannot be searched.
    pub(super) fn take_out(
        &self,
        pairs: &Pairs,
        method: &Method,
        status: StatusCode,
        headers: &mut HeaderMap,
        entry: &Entry,
    ) -> Result<(), Refusal> {
        if pairs.is_empty() {
            return Ok(());
        }
        for slot in headers
            .values()
            .flat_map(|it| pairs.found_in(it.as_bytes()))
        {
            entry.echoed(slot);
        }
        Replacer::new(pairs.clone()).clean(headers);
        let bodiless = method == Method::HEAD
            || status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        if bodiless {
            return Ok(());
        }
        headers.remove(CONTENT_LENGTH);
        if !is_encoded(headers) {
            return Ok(());
        }
        let target = &self.target;
        let message = format!(
            "{target} encoded its answer although it was asked not to, so credentials could not be taken out \
             of it (rule: encoded-answer)"
        );
        let status = StatusCode::BAD_GATEWAY;
        Err(Refusal::new(status, "api_error", "encoded-answer", message))
    }

    /// What replaces placeholders where `place` (header, body) says so.
    fn swaps(&self, place: impl Fn(bool, bool) -> bool) -> Pairs {
        let pair = |key: &Key| match &key.binding.put {
            Put::Swap {
                placeholder,
                header,
                body,
                ..
            } if place(*header, *body) => Some(Pair {
                text: Secret::of(placeholder.bytes().to_vec()),
                instead: Bytes::copy_from_slice(key.value.bytes()),
                slot: key.binding.slot.clone(),
            }),
            _ => None,
        };
        let keys = self.keys.iter().filter(|_| self.secure);
        Pairs::new(keys.filter_map(pair).collect())
    }

    fn bear(&self, at: usize, headers: &mut HeaderMap, entry: &Entry) -> Result<(), Refusal> {
        let Key { binding, value } = &self.keys[at];
        let header = value.header("Bearer ");
        let header = header.map_err(|error| self.unusable(Some(&binding.slot), &error))?;
        headers.insert(AUTHORIZATION, header);
        entry.carries(&binding.slot);
        Ok(())
    }

    fn check_address(&self, uri: &Uri, entry: &Entry) -> Result<(), Refusal> {
        let text = uri.path_and_query().map_or("", |text| text.as_str());
        match self.stray(text.as_bytes(), &Pairs::default()) {
            Some(stray) => Err(self.misplaced(stray, "in the address", entry)),
            None => Ok(()),
        }
    }

    /// A credential whose placeholder stands in a text where it is not replaced.
    fn stray(&self, text: &[u8], allowed: &Pairs) -> Option<&Binding> {
        self.policy.bound.iter().find(|binding| {
            let placeholder = binding.placeholder();
            let stands = |it| memchr::memmem::find(text, it).is_some();
            placeholder.is_some_and(|it| {
                stands(it.bytes()) && !allowed.found_in(text).any(|slot| *slot == binding.slot)
            })
        })
    }

    fn misplaced(&self, binding: &Binding, place: &str, entry: &Entry) -> Refusal {
        let (target, id) = (&self.target, &binding.slot.0);
        entry.carries(&binding.slot);
        let why = match () {
            () if !binding.covers(&self.policy, target) => "is not for this host",
            () if !self.secure => "is not sent without TLS",
            () => "is not put in there",
        };
        let message = format!(
            "{target} was not asked: the placeholder of credential {id} stands {place}, and the credential \
             {why} (rule: credential-place)"
        );
        forbidden("credential-place", message)
    }

    fn ambiguous(&self, slot: &Slot) -> Refusal {
        let (target, id) = (&self.target, &slot.0);
        let message = format!(
            "{target} was not asked: its MCP server's credential and credential {id} are for the same header \
             (rule: credential-ambiguous)"
        );
        forbidden("credential-ambiguous", message)
    }

    fn unusable(&self, slot: Option<&Slot>, error: &CredentialError) -> Refusal {
        let none = Slot(String::new());
        unusable(&self.target, slot.unwrap_or(&none), error)
    }
}

/// The credential that goes in as bearer token: that of the server whose path is the longest.
fn bearer<'a>(policy: &'a Policy, target: &Target, asked: &str) -> Option<&'a Binding> {
    let asked = path::plain(asked)?;
    let length = |binding: &Binding| match &binding.put {
        Put::Bearer { server, path } if server.covers(target) => {
            let rest = asked.strip_prefix(path.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some(path.len())
        }
        _ => None,
    };
    let known = policy.bound.iter();
    let all = known.filter_map(|binding| Some((length(binding)?, binding)));
    all.max_by_key(|(length, _)| *length)
        .map(|(_, binding)| binding)
}

/// What a header of `Authorization: Basic` says.
fn basic(name: &HeaderName, value: &HeaderValue) -> Option<Vec<u8>> {
    if name != AUTHORIZATION {
        return None;
    }
    let (scheme, text) = value.as_bytes().split_at_checked("Basic ".len())?;
    let named = scheme.eq_ignore_ascii_case(b"Basic ");
    named.then(|| STANDARD.decode(text.trim_ascii()).ok())?
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(CONTENT_ENCODING).iter();
    all.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// A credential that cannot be used: the request is not sent without it, because its answer could not be
/// searched for it.
fn unusable(target: &Target, slot: &Slot, error: &CredentialError) -> Refusal {
    let id = &slot.0;
    let (status, kind, cause) = match error {
        CredentialError::NotRenewed => (
            StatusCode::FORBIDDEN,
            "permission_error",
            "credential-ended",
        ),
        _ => (StatusCode::BAD_GATEWAY, "api_error", "credential-unusable"),
    };
    tracing::error!(
        credential.id = id,
        "credential {id} cannot be used: {error}"
    );
    let message = format!("{target} was not asked: credential {id}: {error} (rule: {cause})");
    Refusal::new(status, kind, cause, message)
}
