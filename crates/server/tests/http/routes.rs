//! Every route of the API, taken from the router's own table, against every kind of key. A new route is
//! tried by itself; one that needs an id or body that is not known here fails this test until it is.

use chrono::TimeDelta;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use server::auth::Need;
use server::http::Line;

use crate::files::put;
use crate::vaults::variable;
use crate::world::World;

/// What stands in paths and bodies.
#[derive(Clone)]
struct Ids {
    agent: String,
    environment: String,
    session: String,
    file: String,
    workspace: String,
    key: String,
    vault: String,
    credential: String,
}

impl Ids {
    /// One of each, in the default workspace.
    async fn real(world: &World) -> Ids {
        let session = world.session().await;
        let row = world.get(&format!("/v1/sessions/{session}")).await.ok();
        put(world, &session, "file_1", "f", b"x").await;
        let vault = world.vault().await;
        let kept = format!("/v1/session_store/project/{session}");
        world
            .post(&kept, json!({"entries": [{"type": "x"}]}))
            .await
            .ok();
        Ids {
            agent: text(&row["agent"]["id"]),
            environment: text(&row["environment_id"]),
            session,
            file: "file_1".to_owned(),
            workspace: store::DEFAULT_WORKSPACE.to_owned(),
            key: text(&world.key(json!({"scope": "sessions"})).await["id"]),
            credential: world.credential(&vault, variable()).await,
            vault,
        }
    }

    /// What nobody has.
    fn absent() -> Ids {
        Ids {
            agent: "agent_absent".to_owned(),
            environment: "env_absent".to_owned(),
            session: "sesn_absent".to_owned(),
            file: "file_absent".to_owned(),
            workspace: "wrkspc_absent".to_owned(),
            key: "apikey_absent".to_owned(),
            vault: "vlt_absent".to_owned(),
            credential: "vcrd_absent".to_owned(),
        }
    }

    fn all(&self) -> [&String; 8] {
        let Ids {
            agent,
            environment,
            session,
            file,
            workspace,
            key,
            vault,
            credential,
        } = self;
        [
            agent,
            environment,
            session,
            file,
            workspace,
            key,
            vault,
            credential,
        ]
    }

    fn path(&self, line: &Line) -> String {
        let filled = [
            ("{agent_id}", &*self.agent),
            ("{environment_id}", &*self.environment),
            ("{session_id}", &*self.session),
            ("{file_id}", &*self.file),
            ("{workspace_id}", &*self.workspace),
            ("{api_key_id}", &*self.key),
            ("{vault_id}", &*self.vault),
            ("{credential_id}", &*self.credential),
            ("{model_id}", "claude-opus-5-5"),
            ("{project_key}", "project"),
        ];
        let path = filled
            .iter()
            .fold(line.path.to_owned(), |path, (name, id)| {
                path.replace(name, id)
            });
        assert!(
            !path.contains('{'),
            "{path} has an id that this test does not know"
        );
        format!("/v1{path}")
    }

    /// A body that gets as far as looking for what it names.
    fn body(&self, line: &Line) -> Option<Value> {
        if line.method != Method::POST {
            return None;
        }
        Some(match line.path {
            "/agents" => json!({"model": "m", "name": "a"}),
            "/environments" | "/workspaces" => json!({"name": "e"}),
            "/sessions" => json!({"agent": self.agent, "environment_id": self.environment}),
            "/vaults" => json!({"display_name": "v"}),
            "/vaults/{vault_id}/credentials" => json!({"auth": variable()}),
            "/sessions/{session_id}/events" => json!({"events": [{"type": "user.interrupt"}]}),
            "/api_keys" => {
                json!({"name": "k", "scope": "read_only", "environment_id": self.environment})
            }
            "/files" => json!({}),
            path if path.contains('{') => json!({}),
            path => panic!("{path} makes something, and this test does not know how"),
        })
    }

    fn request(&self, world: &World, line: &Line) -> RequestBuilder {
        let mut request = world.bare(line.method.clone(), &self.path(line));
        if let Some(body) = self.body(line) {
            request = request.json(&body);
        }
        if line.path.ends_with("/ws") {
            request = request
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        }
        request
    }

    /// The status and what is said, without the ids that were asked for. Streams are not read.
    async fn answer(&self, world: &World, line: &Line, key: &str) -> (u16, String) {
        let request = self.request(world, line).bearer_auth(key);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = match status {
            101 => String::new(),
            200 if line.path.ends_with("/stream") => String::new(),
            _ => response.text().await.unwrap(),
        };
        (status, body)
    }

    async fn said(&self, world: &World, line: &Line, key: &str) -> (u16, String) {
        let (status, body) = self.answer(world, line, key).await;
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let mut message = text(&body["error"]["message"]);
        for id in self.all() {
            message = message.replace(id.as_str(), "ID");
        }
        (status, message)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Asks every route with a key that opens nothing.
async fn refused_everywhere(world: &World, ids: &Ids, key: Option<&str>, why: &str) {
    for line in server::http::contents() {
        let mut request = ids.request(world, &line);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = world.send(request).await;
        answer.refuses(401, "authentication_error", why);
    }
}

#[tokio::test]
async fn without_a_key_and_with_a_wrong_one_no_route_answers() {
    let world = World::new().await;
    let ids = Ids::real(&world).await;
    refused_everywhere(&world, &ids, None, "send a key").await;
    refused_everywhere(&world, &ids, Some("hostel_wrong"), "not known").await;
}

#[tokio::test]
async fn a_key_that_expired_or_was_revoked_opens_no_route() {
    let world = World::new().await;
    let at = (world.clock.now() + TimeDelta::hours(1)).to_rfc3339();
    let expiring = world.key(json!({"scope": "admin", "expires_at": at})).await;
    let revoked = world.key(json!({"scope": "admin"})).await;
    let path = format!("/v1/api_keys/{}/revoke", text(&revoked["id"]));
    world.post_nothing(&path).await.ok();
    let ids = Ids::real(&world).await;
    refused_everywhere(&world, &ids, revoked["key"].as_str(), "was revoked").await;
    let key = expiring["key"].as_str().unwrap();
    let before = world.bare(Method::GET, "/v1/agents").bearer_auth(key);
    world.send(before).await.ok();
    world.clock.advance(TimeDelta::hours(1));
    refused_everywhere(&world, &ids, Some(key), "has expired").await;
}

#[tokio::test]
async fn what_belongs_to_another_workspace_looks_absent_on_every_route() {
    let world = World::new().await;
    let (real, absent) = (Ids::real(&world).await, Ids::absent());
    let theirs = world.workspace().await;
    let key = world
        .key(json!({"scope": "admin", "workspace_id": theirs}))
        .await;
    let key = key["key"].as_str().unwrap();
    for line in server::http::contents() {
        let what = format!("{} {}", line.method, line.path);
        let (status, body) = real.answer(&world, &line, key).await;
        for id in real.all() {
            let asked = real.path(&line).contains(id.as_str())
                || real
                    .body(&line)
                    .is_some_and(|body| body.to_string().contains(id.as_str()));
            assert!(
                asked || !body.contains(id.as_str()),
                "{what} tells of {id}: {body}"
            );
        }
        // In a session store any key may be asked for: most answers to one that is not there are empty.
        let named = ["{model_id}", "{project_key}"];
        if line.path.contains('{') && !named.iter().any(|name| line.path.contains(name)) {
            let refused = if line.need == Need::Operate { 403 } else { 404 };
            assert_eq!(status, refused, "{what}: {body}");
        }
        let (real, absent) = (
            real.said(&world, &line, key).await,
            absent.said(&world, &line, key).await,
        );
        assert_eq!(real, absent, "{what} tells what is there from what is not");
    }
}

#[tokio::test]
async fn a_read_only_key_reads_everything_and_changes_nothing() {
    let world = World::new().await;
    let ids = Ids::real(&world).await;
    let key = world.key(json!({"scope": "read_only"})).await;
    let key = key["key"].as_str().unwrap();
    for line in server::http::contents() {
        let what = format!("{} {}", line.method, line.path);
        let (status, body) = ids.answer(&world, &line, key).await;
        match line.need {
            Need::Read => assert!(matches!(status, 200 | 101), "{what}: {status} {body}"),
            Need::Work | Need::Administer | Need::Operate => {
                assert_eq!(status, 403, "{what}: {body}");
                assert!(body.contains("permission_error"), "{what}: {body}");
            }
        }
        // Whatever asks for no more than reading must not be able to change anything.
        assert_eq!(
            line.need == Need::Read,
            line.method == Method::GET && status != 403,
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_key_of_one_environment_finds_nothing_of_another_on_any_route() {
    let world = World::new().await;
    let real = Ids::real(&world).await;
    let own = world.environment().await;
    let key = json!({"scope": "sessions", "environment_id": own});
    let key = world.key(key).await;
    let key = key["key"].as_str().unwrap();
    // Agents belong to the workspace, and this key may start them.
    let absent = Ids {
        agent: real.agent.clone(),
        ..Ids::absent()
    };
    for line in server::http::contents() {
        let what = format!("{} {}", line.method, line.path);
        let (status, body) = real.answer(&world, &line, key).await;
        match line.need {
            Need::Administer | Need::Operate => assert_eq!(status, 403, "{what}: {body}"),
            Need::Read | Need::Work if line.path.starts_with("/agents") => {
                assert_eq!(status, 200, "{what}: {body}");
            }
            Need::Read | Need::Work => {
                for id in [&real.environment, &real.session, &real.file] {
                    let asked = real.path(&line).contains(id.as_str())
                        || real
                            .body(&line)
                            .is_some_and(|it| it.to_string().contains(id.as_str()));
                    assert!(
                        asked || !body.contains(id.as_str()),
                        "{what} tells of {id}: {body}"
                    );
                }
                let (real, absent) = (
                    real.said(&world, &line, key).await,
                    absent.said(&world, &line, key).await,
                );
                assert_eq!(real, absent, "{what} tells what is there from what is not");
            }
        }
    }
    let session = json!({"agent": real.agent, "environment_id": own});
    let made = world
        .bare(Method::POST, "/v1/sessions")
        .bearer_auth(key)
        .json(&session);
    world.send(made).await.ok();
}
