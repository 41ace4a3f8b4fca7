//! Picks chosen top-level values out of a JSON object as it streams by, without
//! keeping the rest and without changing a byte.
//!
//! It trusts the text to be JSON: on anything else it finds nothing or nonsense
//! of bounded size, which the caller's parse then refuses.

use serde::de::DeserializeOwned;

/// Longest key and value kept. A `usage` object is below 2 kB.
const MAX_KEY: usize = 64;
const MAX_VALUE: usize = 16 * 1024;

/// A scanner for the values of `wanted`.
pub(crate) struct TopLevel {
    wanted: &'static [&'static str],
    found: Vec<Option<Vec<u8>>>,
    depth: u32,
    in_string: bool,
    escaped: bool,
    expects_key: bool,
    key: Option<Vec<u8>>,
    capturing: Option<usize>,
}

impl TopLevel {
    pub(crate) fn new(wanted: &'static [&'static str]) -> Self {
        Self {
            wanted,
            found: vec![None; wanted.len()],
            depth: 0,
            in_string: false,
            escaped: false,
            expects_key: false,
            key: None,
            capturing: None,
        }
    }

    /// The value of a wanted key, once it has gone by whole.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let at = self.wanted.iter().position(|wanted| *wanted == key)?;
        if self.capturing == Some(at) {
            return None;
        }
        serde_json::from_slice(self.found[at].as_deref()?).ok()
    }

    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.in_string && !self.escaped && self.key.is_none() && self.capturing.is_none() {
                // Most of a body is the inside of long strings.
                let stop = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                let Some(stop) = stop else { return };
                if stop > 0 {
                    bytes = &bytes[stop..];
                    continue;
                }
            }
            self.step(byte);
            bytes = rest;
        }
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            return self.step_in_string(byte);
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 && self.expects_key {
                    self.key = Some(Vec::new());
                }
                self.keep(byte);
            }
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                if self.depth == 1 {
                    self.expects_key = byte == b'{';
                }
                self.keep(byte);
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                match self.depth {
                    0 => self.capturing = None,
                    _ => self.keep(byte),
                }
            }
            b',' if self.depth == 1 => {
                self.capturing = None;
                self.expects_key = true;
            }
            b':' if self.depth == 1 && self.expects_key => self.begin_value(),
            _ => self.keep(byte),
        }
    }

    fn step_in_string(&mut self, byte: u8) {
        let ends = byte == b'"' && !self.escaped;
        self.escaped = byte == b'\\' && !self.escaped;
        if ends {
            self.in_string = false;
        }
        match &mut self.key {
            Some(key) if !ends => {
                if key.len() < MAX_KEY {
                    key.push(byte);
                }
            }
            Some(_) => {}
            None => self.keep(byte),
        }
    }

    fn begin_value(&mut self) {
        self.expects_key = false;
        let key = self.key.take().unwrap_or_default();
        self.capturing = self
            .wanted
            .iter()
            .position(|wanted| wanted.as_bytes() == key);
        if let Some(at) = self.capturing {
            self.found[at] = Some(Vec::new());
        }
    }

    /// Adds a byte to the value being kept. A value that grows too long is
    /// left out as a whole.
    fn keep(&mut self, byte: u8) {
        let Some(at) = self.capturing else { return };
        let Some(value) = &mut self.found[at] else {
            return;
        };
        if value.len() == MAX_VALUE {
            self.found[at] = None;
        } else {
            value.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const BODY: &str = r#"{"messages":[{"model":"inner","content":"a \"model\": \"x\" \\"}],"n":-1.5e3,
        "model" : "claude-é\"1" ,"usage":{"a":[1,{"b":2}]},"z":"}"}"#;

    fn scan(chunks: impl Iterator<Item = Vec<u8>>) -> (Option<String>, Option<Value>, Option<f64>) {
        let mut scan = TopLevel::new(&["model", "usage", "n"]);
        chunks.for_each(|chunk| scan.feed(&chunk));
        (scan.get("model"), scan.get("usage"), scan.get("n"))
    }

    #[test]
    fn any_cut_of_the_text_finds_the_same() {
        let expected = (
            Some("claude-é\"1".to_owned()),
            Some(json!({"a": [1, {"b": 2}]})),
            Some(-1500.0),
        );
        for size in 1..BODY.len() {
            let chunks = BODY.as_bytes().chunks(size).map(<[u8]>::to_vec);
            assert_eq!(scan(chunks), expected, "chunks of {size}");
        }
    }

    #[test]
    fn a_value_still_on_its_way_is_not_given() {
        let mut scan = TopLevel::new(&["n"]);
        scan.feed(br#"{"n":12"#);
        assert_eq!(scan.get::<u64>("n"), None);
        scan.feed(b"3}");
        assert_eq!(scan.get::<u64>("n"), Some(123));
    }

    #[test]
    fn an_endless_value_is_left_out() {
        let text = format!(r#"{{"model":"{}","n":1}}"#, "x".repeat(MAX_VALUE));
        assert_eq!(
            scan([text.into_bytes()].into_iter()),
            (None, None, Some(1.0))
        );
    }

    #[test]
    fn what_is_no_object_gives_nothing() {
        for text in [
            "",
            "[\"model\",\"x\"]",
            "\"model\"",
            "}}}{",
            "not json",
            "{\"model\":",
        ] {
            let (model, usage, n) = scan([text.as_bytes().to_vec()].into_iter());
            assert_eq!((model, usage, n), (None, None, None), "{text}");
        }
    }
}
