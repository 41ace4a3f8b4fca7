//! What a launch turns into.

use super::*;
use serde_json::{Value, json, value::RawValue};

pub(super) fn launch() -> Launch {
    Launch {
        model: "claude-opus-5-5".into(),
        effort: None,
        system: None,
        tools: Vec::new(),
        custom_tools: Vec::new(),
        mcp_servers: Vec::new(),
        max_turns: None,
        max_budget_usd: None,
        session: Session::New("11111111-1111-4111-8111-111111111111".into()),
        paths: Paths {
            executable: "/opt/claude/claude".into(),
            cwd: "/workspace".into(),
            home: "/home/agent".into(),
            config_dir: "/home/agent/.claude".into(),
            tmp_dir: "/tmp/claude".into(),
        },
        model_url: "http://127.0.0.1:9000".into(),
        placeholder_key: "placeholder".into(),
        proxy_url: None,
        partial_messages: true,
        max_retries: 3,
        own_work: false,
        extra_env: Vec::new(),
    }
}

fn server(default_policy: Policy, tools: &[(&str, Policy)]) -> RemoteServer {
    RemoteServer {
        name: "my docs".into(),
        url: "https://docs.example.com/mcp".into(),
        default_policy,
        tools: tools
            .iter()
            .map(|(name, policy)| ((*name).to_owned(), *policy))
            .collect(),
    }
}

fn argument(launch: &Launch, name: &str) -> Option<String> {
    let prefix = format!("--{name}=");
    launch
        .argv()
        .into_iter()
        .find_map(|argument| Some(argument.strip_prefix(&prefix)?.to_owned()))
}

fn rules(launch: &Launch) -> Value {
    let settings: Value = serde_json::from_str(&argument(launch, "settings").unwrap()).unwrap();
    settings["permissions"].clone()
}

fn variable(launch: &Launch, name: &str) -> Option<String> {
    let found: Vec<_> = launch
        .env()
        .into_iter()
        .filter(|(known, _)| known == name)
        .collect();
    assert!(found.len() <= 1, "{name} is set twice");
    Some(found.into_iter().next()?.1)
}

#[test]
fn the_toolset_maps_to_tools_and_rules() {
    let mut launch = launch();
    assert_eq!(argument(&launch, "tools").as_deref(), Some(""));
    launch.tools = vec![
        (BuiltIn::Bash, Policy::Ask),
        (BuiltIn::Read, Policy::Allow),
        (BuiltIn::WebFetch, Policy::Deny),
    ];
    assert_eq!(argument(&launch, "tools").as_deref(), Some("Bash,Read"));
    assert_eq!(
        rules(&launch),
        json!({"allow": ["Read"], "ask": ["Bash"], "deny": []})
    );
    assert_eq!(launch.policy_of("Bash"), Policy::Ask);
    assert_eq!(launch.policy_of("WebFetch"), Policy::Deny);
    assert_eq!(launch.policy_of("Write"), Policy::Deny);
    assert_eq!(launch.policy_of("Task"), Policy::Deny);
}

#[test]
fn custom_tools_never_ask_and_are_served_in_process() {
    let mut launch = launch();
    assert_eq!(argument(&launch, "mcp-config"), None);
    launch.custom_tools = vec![CustomTool {
        name: "weather".into(),
        description: "tells the weather".into(),
        input_schema: RawValue::from_string("{}".into()).unwrap(),
    }];
    assert_eq!(rules(&launch)["allow"], json!(["mcp__custom"]));
    let servers: Value = serde_json::from_str(&argument(&launch, "mcp-config").unwrap()).unwrap();
    assert_eq!(
        servers,
        json!({"mcpServers": {"custom": {"type": "sdk", "name": "custom"}}})
    );
    let line: Value = serde_json::from_slice(&launch.initialize("r1")).unwrap();
    assert_eq!(line["request"]["sdkMcpServers"], json!(["custom"]));
    assert_eq!(launch.policy_of("mcp__custom__weather"), Policy::Allow);
}

#[test]
fn a_remote_server_gets_one_rule_and_its_exceptions() {
    let mut launch = launch();
    launch.mcp_servers = vec![server(
        Policy::Allow,
        &[("drop", Policy::Ask), ("wipe", Policy::Deny)],
    )];
    assert_eq!(
        rules(&launch),
        json!({"allow": ["mcp__my_docs"], "ask": ["mcp__my_docs__drop"], "deny": ["mcp__my_docs__wipe"]})
    );
    assert_eq!(launch.policy_of("mcp__my_docs__read"), Policy::Allow);
    assert_eq!(launch.policy_of("mcp__my_docs__wipe"), Policy::Deny);
    assert_eq!(launch.policy_of("mcp__other__read"), Policy::Deny);
}

#[test]
fn a_server_rule_never_covers_a_weaker_exception() {
    let mut launch = launch();
    launch.mcp_servers = vec![server(Policy::Ask, &[("read", Policy::Allow)])];
    assert_eq!(
        rules(&launch),
        json!({"allow": ["mcp__my_docs__read"], "ask": [], "deny": []})
    );
    launch.mcp_servers = vec![server(Policy::Deny, &[("read", Policy::Ask)])];
    assert_eq!(
        rules(&launch),
        json!({"allow": [], "ask": ["mcp__my_docs__read"], "deny": []})
    );
    launch.mcp_servers = vec![server(Policy::Ask, &[])];
    assert_eq!(
        rules(&launch),
        json!({"allow": [], "ask": ["mcp__my_docs"], "deny": []})
    );
}

#[test]
fn a_large_system_prompt_stays_off_the_arguments() {
    let mut launch = launch();
    launch.system = Some("x".repeat(100_000));
    assert!(launch.argv().iter().all(|argument| argument.len() < 4096));
    let line: Value = serde_json::from_slice(&launch.initialize("r1")).unwrap();
    assert_eq!(
        line["request"]["systemPrompt"][0].as_str().map(str::len),
        Some(100_000)
    );
}

#[test]
fn an_agent_without_a_prompt_gets_the_small_default() {
    let line: Value = serde_json::from_slice(&launch().initialize("r1")).unwrap();
    assert_eq!(line["request"]["systemPrompt"], json!([DEFAULT_SYSTEM]));
    assert_eq!(line["request"].get("sdkMcpServers"), None);
}

#[test]
fn sessions_are_named_with_one_argument_and_only_a_cut_turn_goes_on_by_itself() {
    let mut launch = launch();
    assert!(argument(&launch, "session-id").is_some() && argument(&launch, "resume").is_none());
    let cut = "CLAUDE_CODE_RESUME_INTERRUPTED_TURN";
    for (interrupted, expected) in [(true, Some("1")), (false, None)] {
        launch.session = Session::Resume {
            id: "-x".into(),
            interrupted,
        };
        assert_eq!(argument(&launch, "resume").as_deref(), Some("-x"));
        assert_eq!(argument(&launch, "session-id"), None);
        assert_eq!(variable(&launch, cut).as_deref(), expected);
    }
}

#[test]
fn the_proxy_never_takes_the_model() {
    let mut launch = launch();
    assert_eq!(variable(&launch, "HTTPS_PROXY"), None);
    launch.proxy_url = Some("http://127.0.0.1:9001".into());
    assert_eq!(
        variable(&launch, "HTTPS_PROXY").as_deref(),
        Some("http://127.0.0.1:9001")
    );
    assert_eq!(
        variable(&launch, "NO_PROXY").as_deref(),
        Some("127.0.0.1,localhost")
    );
}

#[test]
fn the_callers_variables_win_and_nothing_is_set_twice() {
    let mut launch = launch();
    launch.extra_env = vec![
        ("LANG".into(), "de_DE.UTF-8".into()),
        ("EXTRA".into(), "1".into()),
    ];
    assert_eq!(variable(&launch, "LANG").as_deref(), Some("de_DE.UTF-8"));
    assert_eq!(variable(&launch, "EXTRA").as_deref(), Some("1"));
}

#[test]
fn limits_are_passed_on() {
    let mut launch = launch();
    assert_eq!(argument(&launch, "max-turns"), None);
    launch.max_turns = Some(7);
    launch.max_budget_usd = Some(0.5);
    launch.effort = Some("low".into());
    assert_eq!(argument(&launch, "max-turns").as_deref(), Some("7"));
    assert_eq!(argument(&launch, "max-budget-usd").as_deref(), Some("0.5"));
    assert_eq!(argument(&launch, "effort").as_deref(), Some("low"));
}

#[test]
fn work_of_its_own_needs_tools_and_a_hook() {
    let mut launch = launch();
    let first = |launch: &Launch| String::from_utf8(launch.initialize("i").to_vec()).unwrap();
    let background = "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS";
    assert_eq!(variable(&launch, background).as_deref(), Some("1"));
    assert!(!first(&launch).contains("hooks"));
    launch.own_work = true;
    assert_eq!(variable(&launch, background), None);
    assert!(argument(&launch, "tools").unwrap().contains("CronCreate"));
    assert!(first(&launch).contains(r#""hooks":{"Stop":[{"hookCallbackIds":["stop"]}]}"#));
}
