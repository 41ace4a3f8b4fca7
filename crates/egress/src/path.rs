//! What a path says, for rules that name one: decoded once, and refused where two servers could
//! understand it differently.

use std::borrow::Cow;

/// The path as rules see it; `None` when it can be understood in more than one way: dot segments
/// (also before a `;`), empty segments, backslashes, control bytes, escapes that hide another escape,
/// or bytes that are no text.
pub(crate) fn plain(path: &str) -> Option<Cow<'_, str>> {
    let decoded = match path.contains('%') {
        true => Cow::Owned(decode(path)?),
        false => Cow::Borrowed(path),
    };
    let odd = |byte: u8| byte.is_ascii_control() || matches!(byte, b'\\' | b'%');
    let mut segments = decoded.strip_prefix('/')?.split('/').peekable();
    while let Some(segment) = segments.next() {
        let name = segment.split(';').next().unwrap_or_default();
        let hole = segment.is_empty() && segments.peek().is_some();
        if hole || name == "." || name == ".." {
            return None;
        }
    }
    (!decoded.bytes().any(odd)).then_some(decoded)
}

fn decode(path: &str) -> Option<String> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| (byte? as char).to_digit(16);
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        decoded.push(u8::try_from(high << 4 | low).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("/%61dmin", "/admin"),
            ("/@scope%2fname", "/@scope/name"),
            ("/a..b/.c", "/a..b/.c"),
            ("/caf%C3%A9", "/café"),
        ] {
            assert_eq!(plain(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_no_path() {
        for path in [
            "",
            "*",
            "a",
            "//",
            "//a",
            "/a//b",
            "/./a",
            "/a/..",
            "/a/../b",
            "/%2e%2e/b",
            "/a/.%2e/b",
            "/a%2f..%2fb",
            "/..;/b",
            "/..;x=1/b",
            "/a\\b",
            "/a%5cb",
            "/%252e",
            "/%2",
            "/%zz",
            "/%ff",
            "/a%00",
            "/a%0ab",
        ] {
            assert_eq!(plain(path), None, "{path}");
        }
    }
}
