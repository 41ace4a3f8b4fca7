//! Stands in for claude in a sandbox: a prompt `<rate> <count>` makes it say so many short things
//! at that rate, as whole text blocks, which become an event each.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Serves prompts until there are no more.
pub fn run() -> Result<()> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line: Value = serde_json::from_str(&line?)?;
        match line["type"].as_str() {
            Some("control_request") => {
                let response =
                    json!({"subtype": "success", "request_id": line["request_id"], "response": {}});
                say(
                    &mut output,
                    &json!({"type": "control_response", "response": response}),
                )?;
            }
            Some("user") => prompt(&mut output, &line)?,
            _ => {}
        }
    }
    Ok(())
}

fn prompt(output: &mut impl Write, line: &Value) -> Result<()> {
    let text = line["message"]["content"][0]["text"]
        .as_str()
        .context("a prompt without text")?;
    let (rate, count) = text
        .split_once(' ')
        .context("a prompt that is no rate and count")?;
    let (rate, count): (f64, u32) = (rate.parse()?, count.parse()?);
    state(output, "running")?;
    let begun = Instant::now();
    for number in 0..count {
        let due = Duration::from_secs_f64(f64::from(number) / rate);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let content =
            json!([{"type": "text", "text": format!("This is what is said as number {number}.")}]);
        let message =
            json!({"id": format!("msg_{number}"), "model": "stand-in", "content": content});
        say(
            output,
            &json!({"type": "assistant", "message": message, "parent_tool_use_id": null, "uuid": format!("u-{number}")}),
        )?;
    }
    say(
        output,
        &json!({"type": "result", "subtype": "success", "is_error": false, "num_turns": 1, "result": "", "stop_reason": "end_turn"}),
    )?;
    state(output, "idle")
}

fn state(output: &mut impl Write, state: &str) -> Result<()> {
    say(
        output,
        &json!({"type": "system", "subtype": "session_state_changed", "state": state}),
    )
}

fn say(output: &mut impl Write, frame: &Value) -> Result<()> {
    output.write_all(format!("{frame}\n").as_bytes())?;
    Ok(output.flush()?)
}
