//! A tool that the client runs: the agent asks, the client answers with an event.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Fields, Read, expected, quoted};

/// A custom tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CustomTool {
    /// What the model calls it.
    pub name: String,
    /// What the model is told about it.
    pub description: String,
    /// A JSON schema of type `object`; keys that the contract does not name are kept.
    pub input_schema: Map<String, Value>,
}

impl CustomTool {
    pub(super) fn read(mut fields: Fields<'_>) -> Result<CustomTool, Invalid> {
        let at = fields.at();
        let name: String = fields.required("name")?;
        let description: String = fields.required("description")?;
        let input_schema: Map<String, Value> = fields.required("input_schema")?;
        fields.finish()?;
        check_name(&name, at.key("name"))?;
        limits::text(
            &description,
            1,
            limits::TOOL_DESCRIPTION,
            at.key("description"),
        )?;
        check_schema(&input_schema, at.key("input_schema"))?;
        Ok(CustomTool {
            name,
            description,
            input_schema,
        })
    }
}

fn check_name(name: &str, at: At<'_>) -> Result<(), Invalid> {
    limits::text(name, 1, limits::TOOL_NAME, at)?;
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    {
        return Err(at.invalid(format!(
            "only letters, digits, `_` and `-`, got {}",
            quoted(name)
        )));
    }
    if name.starts_with("mcp__") {
        return Err(at.invalid(format!("cannot start with `mcp__`, got {}", quoted(name))));
    }
    Ok(())
}

fn check_schema(schema: &Map<String, Value>, at: At<'_>) -> Result<(), Invalid> {
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "object" => {}
        Some(other) => {
            return Err(at
                .key("type")
                .invalid(expected("the string `object`", other)));
        }
        None => return Err(at.key("type").invalid("field required")),
    }
    match schema.get("properties") {
        None | Some(Value::Null | Value::Object(_)) => {}
        Some(other) => return Err(at.key("properties").invalid(expected("an object", other))),
    }
    match schema.get("required") {
        None | Some(Value::Null) => Ok(()),
        Some(names) => Vec::<String>::read(names.clone(), at.key("required")).map(drop),
    }
}
