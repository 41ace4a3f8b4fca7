//! Web pages of other origins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Web pages that may call the API from a browser. None may, unless it is listed: a key that a page holds
/// is its visitor's to read.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Their origins, as browsers send them (`https://app.example.com`).
    pub origins: Vec<String>,
}

/// Whether a text is an origin as browsers send it.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    let host = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    host.is_some_and(|host| {
        let plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        let separate = |byte: u8| matches!(byte, b'/' | b'?' | b'#' | b'@' | b'*');
        !host.is_empty() && host.bytes().all(|byte| plain(byte) && !separate(byte))
    })
}
