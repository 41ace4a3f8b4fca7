//! Reads a client's first TLS message as far as it says where it goes: the server name and whether
//! an encrypted message is inside (RFC 8446, 6066, 9849).
//!
//! Any bytes give an answer; whatever names a server twice or does not add up is malformed, so that
//! no host can read it differently.

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peeked {
    /// Not decided by these bytes; more may come.
    More,
    /// Not TLS.
    Other,
    /// TLS that is not as it should be.
    Malformed,
    /// A whole first message.
    Hello(Hello),
}

/// A client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The server it names, as it wrote it.
    pub(crate) server: Option<String>,
    /// Whether it brings an encrypted message, which may name another.
    pub(crate) encrypted: bool,
}

/// Bytes of a first message that are looked at; real ones have one or two thousand.
const LONGEST: usize = 16 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// Looks at the first bytes of a connection.
pub(crate) fn peek(bytes: &[u8]) -> Peeked {
    let message = match message(bytes) {
        Ok(Some(message)) => message,
        Ok(None) if bytes.len() > LONGEST => return Peeked::Malformed,
        Ok(None) => return Peeked::More,
        Err(peeked) => return peeked,
    };
    hello(&message).map_or(Peeked::Malformed, Peeked::Hello)
}

/// The first handshake message, put together from its records; `None` when it is not whole.
fn message(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Peeked> {
    let mut message = Vec::new();
    loop {
        match bytes {
            [] | [HANDSHAKE] => return Ok(None),
            [HANDSHAKE, 3, ..] => {}
            _ if message.is_empty() => return Err(Peeked::Other),
            _ => return Err(Peeked::Malformed),
        }
        let Some((header, rest)) = bytes.split_at_checked(5) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > 1 << 14 {
            return Err(Peeked::Malformed);
        }
        let whole = rest.len() >= length;
        message.extend_from_slice(&rest[..rest.len().min(length)]);
        if let Some(head) = message.first_chunk::<4>() {
            if head[0] != CLIENT_HELLO {
                return Err(Peeked::Malformed);
            }
            let length = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
            if length > LONGEST {
                return Err(Peeked::Malformed);
            }
            if message.len() >= 4 + length {
                message.truncate(4 + length);
                message.drain(..4);
                return Ok(Some(message));
            }
        }
        if !whole {
            return Ok(None);
        }
        bytes = &rest[length..];
    }
}

fn hello(message: &[u8]) -> Option<Hello> {
    let mut rest = Reader(message);
    rest.take(2 + 32)?;
    let session = rest.u8()?;
    rest.take(session.into())?;
    let suites = rest.u16()?;
    rest.take(suites.into())?;
    let compressions = rest.u8()?;
    rest.take(compressions.into())?;
    let mut hello = Hello {
        server: None,
        encrypted: false,
    };
    if rest.0.is_empty() {
        return Some(hello);
    }
    let length = rest.u16()?;
    let mut extensions = Reader(rest.take(length.into())?);
    if !rest.0.is_empty() {
        return None;
    }
    let mut named = false;
    while !extensions.0.is_empty() {
        let (kind, length) = (extensions.u16()?, extensions.u16()?);
        let content = extensions.take(length.into())?;
        match kind {
            SERVER_NAME if named => return None,
            SERVER_NAME => {
                named = true;
                hello.server = Some(server_name(content)?);
            }
            ENCRYPTED_CLIENT_HELLO => hello.encrypted = true,
            _ => {}
        }
    }
    Some(hello)
}

/// The one host name in the extension.
fn server_name(content: &[u8]) -> Option<String> {
    let mut rest = Reader(content);
    let length = rest.u16()?;
    let mut list = Reader(rest.take(length.into())?);
    let kind = list.u8()?;
    let length = list.u16()?;
    let name = list.take(length.into())?;
    let alone = rest.0.is_empty() && list.0.is_empty() && kind == 0;
    let text = std::str::from_utf8(name).ok()?;
    (alone && !text.is_empty()).then(|| text.to_owned())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

#[cfg(test)]
mod tests;
