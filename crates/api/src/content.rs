//! Content blocks that clients send.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Fields, NOT_SERVED, Read, quoted};

/// One block of a user's message or a tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Text.
    Text {
        /// At least one character.
        text: String,
    },
    /// A picture.
    Image {
        /// Where its bytes are.
        source: Source,
    },
    /// A document.
    Document {
        /// Where its bytes are.
        source: Source,
        /// Its title.
        title: Option<String>,
        /// What the model should know about it.
        context: Option<String>,
    },
    /// One hit of a search (tool results only).
    SearchResult {
        /// Where it was found.
        source: String,
        /// Its title.
        title: String,
        /// What it says; text blocks only.
        content: Vec<Text>,
        /// Whether the model may cite it.
        citations: Citations,
    },
}

/// A block of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Always `text`.
    #[serde(rename = "type")]
    pub kind: TextTag,
    /// At least one character.
    pub text: String,
}

crate::literal! {
    /// The `type` of a block of text.
    TextTag = "text"
}

/// Whether a search result may be cited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citations {
    /// Whether it may.
    pub enabled: bool,
}

/// Where the bytes of a picture or document are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// Here.
    Base64 {
        /// What they are.
        media_type: String,
        /// The bytes in base 64.
        data: String,
    },
    /// At a web address.
    Url {
        /// The address.
        url: String,
    },
    /// Here, as plain text (documents only).
    Text {
        /// Always `text/plain`.
        media_type: String,
        /// The text.
        data: String,
    },
}

/// A block of a user's message.
pub(crate) struct MessageBlock(pub(crate) Block);

/// A block of a tool's result.
pub(crate) struct ResultBlock(pub(crate) Block);

/// What a source belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Image,
    Document,
}

const IMAGES: &[&str] = &["image/jpeg", "image/png", "image/gif", "image/webp"];
const DOCUMENTS: &[&str] = &["application/pdf"];

impl Read for MessageBlock {
    fn read(value: Value, at: At<'_>) -> Result<MessageBlock, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let kind = fields.tag("type")?;
        match read_common(&kind, fields)? {
            Some(block) => Ok(MessageBlock(block)),
            None => Err(unknown(at, "`text`, `image`, `document`", &kind)),
        }
    }
}

impl Read for ResultBlock {
    fn read(value: Value, at: At<'_>) -> Result<ResultBlock, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let kind = fields.tag("type")?;
        if kind == "search_result" {
            return read_search_result(fields).map(ResultBlock);
        }
        match read_common(&kind, fields)? {
            Some(block) => Ok(ResultBlock(block)),
            None => Err(unknown(
                at,
                "`text`, `image`, `document`, `search_result`",
                &kind,
            )),
        }
    }
}

fn unknown(at: At<'_>, known: &str, kind: &str) -> Invalid {
    if kind == "redacted" {
        return at
            .key("type")
            .invalid("`redacted` blocks come from the server and cannot be sent");
    }
    at.key("type")
        .invalid(format!("must be one of {known}, got {}", quoted(kind)))
}

fn read_common(kind: &str, mut fields: Fields<'_>) -> Result<Option<Block>, Invalid> {
    let block = match kind {
        "text" => Block::Text {
            text: take_text(&mut fields)?,
        },
        "image" => Block::Image {
            source: take_source(&mut fields, Holder::Image)?,
        },
        "document" => Block::Document {
            source: take_source(&mut fields, Holder::Document)?,
            title: fields.optional("title")?,
            context: fields.optional("context")?,
        },
        _ => return Ok(None),
    };
    fields.finish()?;
    Ok(Some(block))
}

fn read_search_result(mut fields: Fields<'_>) -> Result<Block, Invalid> {
    let at = fields.at();
    let source = fields.required("source")?;
    let title = fields.required("title")?;
    let content = fields.required("content")?;
    let mut citations = Fields::of(fields.required("citations")?, at.key("citations"))?;
    let enabled = citations.required("enabled")?;
    citations.finish()?;
    fields.finish()?;
    Ok(Block::SearchResult {
        source,
        title,
        content,
        citations: Citations { enabled },
    })
}

impl Read for Text {
    fn read(value: Value, at: At<'_>) -> Result<Text, Invalid> {
        let mut fields = Fields::of(value, at)?;
        fields.literal("type", "text")?;
        let text = take_text(&mut fields)?;
        fields.finish()?;
        Ok(Text {
            kind: TextTag::Value,
            text,
        })
    }
}

fn take_text(fields: &mut Fields<'_>) -> Result<String, Invalid> {
    let text: String = fields.required("text")?;
    if text.is_empty() {
        return Err(fields.at().key("text").invalid("cannot be empty"));
    }
    Ok(text)
}

fn take_source(fields: &mut Fields<'_>, holder: Holder) -> Result<Source, Invalid> {
    let outer = fields.at();
    let at = outer.key("source");
    let mut fields = Fields::of(fields.required("source")?, at)?;
    let source = match (fields.tag("type")?.as_str(), holder) {
        ("base64", holder) => {
            let known = if holder == Holder::Image {
                IMAGES
            } else {
                DOCUMENTS
            };
            let media_type = take_media_type(&mut fields, known)?;
            let data: String = fields.required("data")?;
            if !is_base64(&data) {
                return Err(at.key("data").invalid("must be base 64 with padding"));
            }
            Source::Base64 { media_type, data }
        }
        ("url", _) => {
            let url: String = fields.required("url")?;
            limits::text(&url, 1, limits::MCP_URL, at.key("url"))?;
            Source::Url { url }
        }
        ("text", Holder::Document) => Source::Text {
            media_type: take_media_type(&mut fields, &["text/plain"])?,
            data: fields.required("data")?,
        },
        ("file", _) => return Err(at.key("type").invalid(format!("`file` is {NOT_SERVED}"))),
        (other, _) => {
            let known = if holder == Holder::Image {
                "`base64`, `url`"
            } else {
                "`base64`, `url`, `text`"
            };
            return Err(at
                .key("type")
                .invalid(format!("must be one of {known}, got {}", quoted(other))));
        }
    };
    fields.finish()?;
    Ok(source)
}

fn take_media_type(fields: &mut Fields<'_>, known: &[&str]) -> Result<String, Invalid> {
    let media_type: String = fields.required("media_type")?;
    if known.contains(&media_type.as_str()) {
        return Ok(media_type);
    }
    let rule = format!(
        "must be one of {}, got {}",
        known.join(", "),
        quoted(&media_type)
    );
    Err(fields.at().key("media_type").invalid(rule))
}

fn is_base64(data: &str) -> bool {
    let body = data.trim_end_matches('=');
    !body.is_empty()
        && data.len().is_multiple_of(4)
        && data.len() - body.len() <= 2
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}
