//! Models: how an agent names one, and what the model list says about one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Invalid;
use crate::limits;
use crate::patch::Patch;
use crate::read::{At, Fields, NOT_SERVED, Read, expected, quoted};
use crate::time::Timestamp;

/// The model of an agent, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The model's id. Any text is taken; an unknown one fails when the model is called.
    pub id: String,
    /// How hard the model thinks; null leaves it to the model.
    pub effort: Option<Effort>,
    /// Always null: not served yet.
    pub inference_geo: Option<String>,
    /// `standard`, or null when the request named none.
    pub speed: Option<Speed>,
}

/// How hard a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Effort {
    /// Quick answers.
    Low,
    /// The middle.
    Medium,
    /// Thorough.
    High,
    /// More than thorough.
    Xhigh,
    /// Everything the model has.
    Max,
}

/// How fast a model is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speed {
    /// At the list price.
    Standard,
}

/// The model in a request: a bare id or an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelParams {
    /// The model's id.
    pub id: String,
    /// Absent keeps the stored one on an update that names the same model.
    pub effort: Patch<Effort>,
    /// Whether a speed was named.
    pub speed: Option<Speed>,
}

impl Effort {
    /// The level by its name in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Xhigh => "xhigh",
            Effort::Max => "max",
        }
    }

    fn parse(name: &str, at: At<'_>) -> Result<Effort, Invalid> {
        let all = [
            Effort::Low,
            Effort::Medium,
            Effort::High,
            Effort::Xhigh,
            Effort::Max,
        ];
        all.into_iter()
            .find(|effort| effort.as_str() == name)
            .ok_or_else(|| {
                at.invalid(format!(
                    "must be one of `low`, `medium`, `high`, `xhigh`, `max`, got {}",
                    quoted(name)
                ))
            })
    }
}

impl Read for Effort {
    fn read(value: Value, at: At<'_>) -> Result<Effort, Invalid> {
        match value {
            Value::String(name) => Effort::parse(&name, at),
            value @ Value::Object(_) => {
                let mut fields = Fields::of(value, at)?;
                let name = fields.tag("type")?;
                fields.finish()?;
                Effort::parse(&name, at.key("type"))
            }
            other => Err(at.invalid(expected("a level or an object with `type`", &other))),
        }
    }
}

impl Read for Speed {
    fn read(value: Value, at: At<'_>) -> Result<Speed, Invalid> {
        match String::read(value, at)?.as_str() {
            "standard" => Ok(Speed::Standard),
            "fast" => Err(at.invalid(format!("`fast` is {NOT_SERVED}"))),
            other => Err(at.invalid(format!(
                "must be `standard` or `fast`, got {}",
                quoted(other)
            ))),
        }
    }
}

impl Read for ModelParams {
    fn read(value: Value, at: At<'_>) -> Result<ModelParams, Invalid> {
        match value {
            Value::String(id) => {
                limits::text(&id, 1, limits::ID, at)?;
                Ok(ModelParams {
                    id,
                    effort: Patch::Absent,
                    speed: None,
                })
            }
            value @ Value::Object(_) => {
                let mut fields = Fields::of(value, at)?;
                let id: String = fields.required("id")?;
                limits::text(&id, 1, limits::ID, at.key("id"))?;
                let effort = fields.patch("effort")?;
                let speed = fields.optional("speed")?;
                if fields.optional::<String>("inference_geo")?.is_some() {
                    return Err(at.key("inference_geo").invalid(NOT_SERVED));
                }
                fields.finish()?;
                Ok(ModelParams { id, effort, speed })
            }
            other => Err(at.invalid(expected("a model id or an object with `id`", &other))),
        }
    }
}

impl ModelParams {
    /// The model of a new agent.
    #[must_use]
    pub fn resolve(self) -> ModelConfig {
        ModelConfig {
            id: self.id,
            effort: self.effort.value(),
            inference_geo: None,
            speed: self.speed,
        }
    }

    /// The model after an update: the effort stays when it is not mentioned and the id is the same.
    #[must_use]
    pub fn replace(self, stored: &ModelConfig) -> ModelConfig {
        let keep = self.effort.is_absent() && self.id == stored.id;
        let kept = stored.effort.filter(|_| keep);
        let mut replaced = self.resolve();
        replaced.effort = replaced.effort.or(kept);
        replaced
    }
}

/// One entry of the model list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The model's id.
    pub id: String,
    /// Always `model`.
    #[serde(rename = "type")]
    pub kind: ModelTag,
    /// The name for people.
    pub display_name: String,
    /// When it was released.
    pub created_at: Timestamp,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// When it was deprecated.
    pub deprecated_at: Option<Timestamp>,
    /// When it is retired.
    pub retires_at: Option<Timestamp>,
    /// The line that it belongs to; null where the list does not say.
    pub line: Option<Value>,
    /// Tokens of context; null where the list does not say.
    pub max_input_tokens: Option<u64>,
    /// Tokens of output; null where the list does not say.
    pub max_tokens: Option<u64>,
    /// What it can do; null where the list does not say.
    pub capabilities: Option<Map<String, Value>>,
}

crate::literal! {
    /// The `type` of a model list entry.
    ModelTag = "model"
}

/// Where a model is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// In use.
    Active,
    /// Still served, with an end in sight.
    Deprecated,
    /// Not served any more.
    Retired,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<ModelParams, Invalid> {
        ModelParams::read(value, At::root().key("model"))
    }

    #[test]
    fn a_bare_id_and_an_object_are_the_same_model() {
        assert_eq!(
            read(json!("m")).unwrap().resolve(),
            read(json!({"id": "m"})).unwrap().resolve()
        );
        let shown =
            serde_json::to_value(read(json!({"id": "m", "effort": "max"})).unwrap().resolve())
                .unwrap();
        assert_eq!(
            shown,
            json!({"id": "m", "effort": {"type": "max"}, "inference_geo": null, "speed": null})
        );
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for (value, field) in [
            (
                json!({"id": "m", "inference_geo": "us"}),
                "model.inference_geo: ",
            ),
            (json!({"id": "m", "speed": "fast"}), "model.speed: "),
            (json!({"id": "m", "effort": "huge"}), "model.effort: "),
            (
                json!({"id": "m", "effort": {"type": "low", "x": 1}}),
                "model.effort.x: ",
            ),
            (json!({"id": ""}), "model.id: "),
            (json!({"id": "m", "temperature": 1}), "model.temperature: "),
            (json!(7), "model: "),
        ] {
            let error = read(value).unwrap_err();
            assert!(error.message.starts_with(field), "{}", error.message);
        }
        assert!(read(json!({"id": "m", "inference_geo": null, "speed": "standard"})).is_ok());
    }

    #[test]
    fn effort_survives_an_update_of_the_same_model_only() {
        let stored = read(json!({"id": "m", "effort": "low"})).unwrap().resolve();
        let after = |value| read(value).unwrap().replace(&stored).effort;
        assert_eq!(after(json!("m")), Some(Effort::Low));
        assert_eq!(after(json!({"id": "m", "effort": null})), None);
        assert_eq!(
            after(json!({"id": "m", "effort": "high"})),
            Some(Effort::High)
        );
        assert_eq!(after(json!("other")), None);
    }
}
