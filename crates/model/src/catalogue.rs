//! The models it says it has, and `GET /v1/models`.

use serde_json::{Value, json};

/// Ids and names of the models, newest first. A dated name of one of them
/// (`claude-haiku-4-5-20251001`) is known too.
pub const KNOWN_MODELS: &[(&str, &str)] = &[
    ("claude-fable-5-2", "Claude Fable 5.2"),
    ("claude-haiku-5-5", "Claude Haiku 5.5"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5"),
    ("claude-opus-5-5", "Claude Opus 5.5"),
    ("claude-fable-5-1", "Claude Fable 5.1"),
    ("claude-opus-5", "Claude Opus 5"),
    ("claude-sonnet-5", "Claude Sonnet 5"),
    ("claude-fable-5", "Claude Fable 5"),
    ("claude-opus-4-8", "Claude Opus 4.8"),
    ("claude-opus-4-7", "Claude Opus 4.7"),
    ("claude-opus-4-6", "Claude Opus 4.6"),
    ("claude-sonnet-4-6", "Claude Sonnet 4.6"),
    ("claude-opus-4-5", "Claude Opus 4.5"),
    ("claude-haiku-4-5", "Claude Haiku 4.5"),
    ("claude-sonnet-4-5", "Claude Sonnet 4.5"),
];

/// Largest `limit` of a list, as in the public API.
const MAX_LIMIT: usize = 1_000;

/// Whether requests for this model are answered.
pub(crate) fn is_known(id: &str) -> bool {
    position(id).is_some()
}

fn position(id: &str) -> Option<usize> {
    let base = match id.rsplit_once('-') {
        Some((base, date)) if date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => id,
    };
    KNOWN_MODELS.iter().position(|(known, _)| *known == base)
}

/// One model, under the id it was asked for.
pub(crate) fn one(id: &str) -> Option<Value> {
    position(id).map(|at| info(id, at))
}

/// A page of the list; `query` is the raw query of the request.
///
/// # Errors
/// A sentence that names the wrong parameter.
pub(crate) fn list(query: &str) -> Result<Value, String> {
    let (mut start, mut end, mut limit, mut backwards) = (0, KNOWN_MODELS.len(), 20, false);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "limit" => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                    .ok_or("limit: must be a number from 1 to 1000")?;
            }
            "after_id" => start = position(value).ok_or("after_id: no such model")? + 1,
            "before_id" => {
                end = position(value).ok_or("before_id: no such model")?;
                backwards = true;
            }
            _ => {}
        }
    }
    let all: Vec<usize> = (start..end).collect();
    let shown = match backwards {
        true => &all[all.len().saturating_sub(limit)..],
        false => &all[..limit.min(all.len())],
    };
    let data: Vec<Value> = shown
        .iter()
        .map(|at| info(KNOWN_MODELS[*at].0, *at))
        .collect();
    let id = |value: Option<&Value>| value.map_or(Value::Null, |value| value["id"].clone());
    Ok(json!({
        "first_id": id(data.first()),
        "last_id": id(data.last()),
        "has_more": shown.len() < all.len(),
        "data": data,
    }))
}

fn info(id: &str, at: usize) -> Value {
    json!({
        "type": "model",
        "id": id,
        "display_name": KNOWN_MODELS[at].1,
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "deprecated_at": null,
        "retires_at": null,
        "line": null,
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
        "capabilities": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(query: &str) -> (Vec<String>, bool) {
        let page = list(query).unwrap();
        let data = page["data"].as_array().unwrap();
        let ids = data
            .iter()
            .map(|m| m["id"].as_str().unwrap().to_owned())
            .collect();
        (ids, page["has_more"].as_bool().unwrap())
    }

    #[test]
    fn pages_go_through_the_list_once() {
        let (first, more) = ids("limit=2");
        assert_eq!((first.len(), more), (2, true));
        let (second, _) = ids(&format!("limit=2&after_id={}", first[1]));
        assert_eq!(second, [KNOWN_MODELS[2].0, KNOWN_MODELS[3].0]);
        let (back, more) = ids(&format!("limit=1&before_id={}", second[0]));
        assert_eq!((back, more), (vec![first[1].clone()], true));
        assert_eq!(ids("").0.len(), KNOWN_MODELS.len());
    }

    #[test]
    fn a_dated_name_is_known_and_a_wrong_one_is_not() {
        assert_eq!(
            one("claude-haiku-4-5-20251001").unwrap()["display_name"],
            "Claude Haiku 4.5"
        );
        assert!(one("claude-haiku-4-5-2025").is_none());
        assert!(!is_known("gpt-5"));
    }

    #[test]
    fn a_wrong_limit_is_named() {
        assert_eq!(
            list("limit=0").unwrap_err(),
            "limit: must be a number from 1 to 1000"
        );
    }
}
