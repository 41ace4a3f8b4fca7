//! Ids as nobody mints them, on every route that takes one, and places in lists that are none.

use reqwest::Method;
use serde_json::json;

use crate::world::World;

/// Ways up, ends of strings, questions to a database, and more than any id has.
const ODD: [&str; 12] = [
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "..%5c..",
    "sesn_1%00",
    "sesn_1%0d%0aset-cookie:%20a=b",
    "'%20OR%201=1--",
    "%25",
    "*",
    "%ff%fe",
    "%E2%80%AE",
    "-1",
    "00000000-0000-0000-0000-000000000000",
];

#[tokio::test]
async fn odd_ids_are_absent_on_every_route() {
    let world = World::new().await;
    let long = "a".repeat(5000);
    let ids = || ODD.into_iter().chain([long.as_str()]);
    for line in server::http::contents() {
        let Some((before, rest)) = line.path.split_once('{') else {
            continue;
        };
        let after = rest.split_once('}').unwrap().1;
        for id in ids() {
            let path = format!("/v1{before}{id}{after}");
            let request = world.request(line.method.clone(), &path);
            let request = match line.method {
                Method::POST => request.json(&json!({})),
                _ => request,
            };
            let answer = world.send(request).await;
            let status = answer.status.as_u16();
            // In a session store any key may be asked for, and there is nothing under it.
            let any = line.path.starts_with("/session_store/") && line.method != Method::POST;
            // A body without what it needs may be told before the id is looked for.
            assert!(
                matches!(status, 400 | 404 | 414) || (any && status == 200),
                "{} {path:.90}: {status}",
                line.method
            );
            assert!(!answer.headers.contains_key("set-cookie"), "{path:.90}");
        }
    }
}

#[tokio::test]
async fn a_stream_begins_after_any_number_and_a_list_at_its_own_cursors_alone() {
    let world = World::new().await;
    let path = format!("/v1/sessions/{}/events", world.session().await);
    for wrong in ["-1", "1.5", "9223372036854775808", "0x1", "sevt_1", "1%00"] {
        let stream = world.request(Method::GET, &format!("{path}/stream"));
        let answer = world.send(stream.header("last-event-id", wrong)).await;
        answer.refuses(400, "invalid_request_error", "last-event-id");
    }
    // The future: nothing is there yet, and that is no error.
    let stream = world.request(Method::GET, &format!("{path}/stream"));
    let stream = stream
        .header("last-event-id", "9223372036854775807")
        .send()
        .await
        .unwrap();
    assert_eq!(stream.status().as_u16(), 200);
    for wrong in ["e30", "-1", "AAAA", "%00", "eyJsaXN0IjoiYWdlbnRzIn0"] {
        let answer = world.get(&format!("{path}?page={wrong}")).await;
        answer.refuses(400, "invalid_request_error", "page");
    }
}
