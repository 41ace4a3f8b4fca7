//! The CLI's own permission modes and its own sandbox, inside of ours.

use integration::{Agent, World};
use serde_json::json;

/// Runs the CLI by hand inside, as an agent's program might, with a script for the model.
fn by_hand(settings: &str) -> String {
    format!(
        "printf '%s\\n' '@tool Bash {{\"command\":\"echo ran as $(id -u)\"}}' '@say over' | env -u CLAUDECODE \
         /opt/hostel/claude -p --setting-sources= --permission-mode bypassPermissions --settings '{settings}' \
         --output-format stream-json --verbose 2>&1 | grep -o 'ran as 1[0-9]*\\|[Ss]andbox [a-z ]*' | sort -u; echo ended"
    )
}

#[tokio::test]
async fn bypassed_permissions_need_no_root_and_the_cli_s_own_sandbox_says_that_it_cannot() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let run = async |settings: &str| {
        let call = json!({"command": by_hand(settings)});
        let turn = session.turn(&format!("@tool Bash {call}\n@say done")).await;
        turn.only("agent.tool_result").to_string()
    };
    let free = run("{}").await;
    assert!(
        free.contains("ran as 1") && free.contains("ended"),
        "{free}"
    );
    // It needs user namespaces, of which there are none inside; who insists on it is told so.
    let walled = run(
        r#"{"sandbox":{"enabled":true,"failIfUnavailable":true,"enableWeakerNestedSandbox":true}}"#,
    )
    .await;
    assert!(
        walled.contains("andbox ") && !walled.contains("ran as"),
        "{walled}"
    );
    world.end().await;
}
