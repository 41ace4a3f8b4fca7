//! A question of DNS and its answer, as bytes. The answer repeats the question as it came, so nothing
//! of it has to be understood but the name and the type.

use std::net::Ipv4Addr;

/// Seconds that an address may be remembered: short, because what may be reached can change.
const TTL: u32 = 30;

/// Types of records: an address of IPv4, a name for an address, an address of IPv6, and what
/// browsers and libraries ask beside an address.
const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
/// The class of the Internet.
const IN: u16 = 1;
/// Bytes of a header, and of type and class behind a name.
const HEADER: usize = 12;
const TAIL: usize = 4;
/// The longest name in bytes, as it is written with dots.
const NAME_MAX: usize = 253;
/// Bits of the third byte: it is an answer; what is asked; it was cut.
const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const RECURSION_DESIRED: u8 = 0x01;
const AUTHORITATIVE: u8 = 0x04;
const RECURSION_AVAILABLE: u8 = 0x80;

/// A question.
pub struct Question {
    /// Its header's first three bytes: a number, and flags.
    head: [u8; 3],
    /// The question as it came; empty when it is not understood.
    raw: Vec<u8>,
    /// In lower case without the last dot; `None` when it can be no host's.
    name: Option<String>,
    /// The type of record, by its number.
    pub kind: u16,
    class: u16,
}

/// What a question is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The name has this address.
    Address(Ipv4Addr),
    /// There is such a name, without such a record.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// Ask again later.
    Later,
    /// The question was not understood.
    Malformed,
    /// It is not a question that is answered here.
    NotHere,
}

/// Reads a question; `None` when there is nobody to answer to.
pub fn read(bytes: &[u8]) -> Option<Question> {
    let header = bytes.get(..HEADER)?;
    if header[2] & RESPONSE != 0 {
        return None;
    }
    let mut question = Question {
        head: [header[0], header[1], header[2]],
        raw: Vec::new(),
        name: None,
        kind: 0,
        class: 0,
    };
    if header[4..6] == [0, 1] {
        question.take(&bytes[HEADER..]);
    }
    Some(question)
}

impl Question {
    /// Takes the name, type and class, if they are there.
    fn take(&mut self, bytes: &[u8]) {
        let (mut at, mut name, mut plain) = (0, String::new(), true);
        loop {
            let Some(&len) = bytes.get(at) else { return };
            at += 1;
            // Nothing stands before a question that it could point to.
            if len > 63 {
                return;
            }
            if len == 0 {
                break;
            }
            let Some(label) = bytes.get(at..at + usize::from(len)) else {
                return;
            };
            at += label.len();
            let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            plain &= label.iter().all(letter);
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
            plain &= name.len() <= NAME_MAX;
            if at > NAME_MAX + 1 {
                return;
            }
        }
        let Some(tail) = bytes.get(at..at + TAIL) else {
            return;
        };
        self.kind = u16::from_be_bytes([tail[0], tail[1]]);
        self.class = u16::from_be_bytes([tail[2], tail[3]]);
        self.raw = bytes[..at + TAIL].to_vec();
        self.name = (plain && !name.is_empty()).then_some(name);
    }

    /// Whether an address is asked for.
    pub fn asks_address(&self) -> bool {
        self.kind == A
    }

    /// The answer where the host need not be asked; else the name that it is asked about.
    pub fn at_once(&self) -> Result<Reply, &str> {
        if self.head[2] & OPCODE != 0 {
            return Ok(Reply::NotHere);
        }
        if self.raw.is_empty() {
            return Ok(Reply::Malformed);
        }
        let name = match &self.name {
            Some(name) if self.class == IN => name.as_str(),
            _ => return Ok(Reply::NoSuchName),
        };
        let here = name == "localhost" || name.ends_with(".localhost");
        match self.kind {
            A if here || is_this_machine(name) => Ok(Reply::Address(Ipv4Addr::LOCALHOST)),
            _ if here || is_this_machine(name) => Ok(Reply::Nothing),
            // Addresses have no names: those that we give are nobody's.
            PTR => Ok(Reply::NoSuchName),
            _ if name.ends_with(".arpa") => Ok(Reply::NoSuchName),
            AAAA | SVCB | HTTPS => Ok(Reply::Nothing),
            _ => Err(name),
        }
    }

    /// The answer's bytes.
    pub fn answer(&self, reply: Reply) -> Vec<u8> {
        let code = match reply {
            Reply::Address(_) | Reply::Nothing => 0,
            Reply::Malformed => 1,
            Reply::Later => 2,
            Reply::NoSuchName => 3,
            Reply::NotHere => 4,
        };
        let [first, second, flags] = self.head;
        let flags = RESPONSE | AUTHORITATIVE | flags & (OPCODE | RECURSION_DESIRED);
        let questions = u8::from(!self.raw.is_empty());
        let answers = u8::from(matches!(reply, Reply::Address(_)));
        let mut bytes = vec![first, second, flags, RECURSION_AVAILABLE | code];
        bytes.extend([0, questions, 0, answers, 0, 0, 0, 0]);
        bytes.extend(&self.raw);
        if let Reply::Address(address) = reply {
            // The name is the question's, which stands behind the header.
            bytes.extend([0xc0, HEADER as u8]);
            bytes.extend(A.to_be_bytes());
            bytes.extend(IN.to_be_bytes());
            bytes.extend(TTL.to_be_bytes());
            bytes.extend([0, 4]);
            bytes.extend(address.octets());
        }
        bytes
    }
}

/// Programs ask for their own machine by its name.
fn is_this_machine(name: &str) -> bool {
    let system = rustix::system::uname();
    system
        .nodename()
        .to_bytes()
        .eq_ignore_ascii_case(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(IN.to_be_bytes());
        bytes
    }

    #[test]
    fn what_the_host_is_asked_about() {
        for (name, kind, expected) in [
            ("A.Example", A, Err("a.example")),
            ("a.example", 16, Err("a.example")),
            ("a.example", 255, Err("a.example")),
            ("a.example", AAAA, Ok(Reply::Nothing)),
            ("a.example", HTTPS, Ok(Reply::Nothing)),
            ("localhost", A, Ok(Reply::Address(Ipv4Addr::LOCALHOST))),
            ("x.localhost", AAAA, Ok(Reply::Nothing)),
            ("1.0.0.127.in-addr.arpa", PTR, Ok(Reply::NoSuchName)),
            ("1.0.0.127.in-addr.arpa", A, Ok(Reply::NoSuchName)),
            ("a b.example", A, Ok(Reply::NoSuchName)),
            ("", A, Ok(Reply::NoSuchName)),
        ] {
            let question = read(&asked(name, kind)).unwrap();
            assert_eq!(question.at_once(), expected, "{name} {kind}");
        }
    }

    #[test]
    fn an_answer_repeats_the_question_and_gives_the_address() {
        let bytes = asked("A.example", A);
        let question = read(&bytes).unwrap();
        let answer = question.answer(Reply::Address(Ipv4Addr::new(127, 65, 2, 3)));
        assert_eq!(answer[..4], [7, 9, 0x85, 0x80]);
        assert_eq!(answer[4..12], [0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(answer[12..bytes.len()], bytes[12..]);
        assert!(answer.ends_with(&[0, 4, 127, 65, 2, 3]));
        assert_eq!(question.answer(Reply::NoSuchName)[3], 0x83);
        assert_eq!(question.answer(Reply::NoSuchName).len(), bytes.len());
    }

    #[test]
    fn nonsense_is_called_so_or_not_answered() {
        let whole = asked("a.example", A);
        for len in 0..whole.len() {
            match read(&whole[..len]) {
                None => assert!(len < HEADER),
                Some(cut) => assert_eq!(cut.at_once(), Ok(Reply::Malformed), "{len}"),
            }
        }
        let mut answer = whole.clone();
        answer[2] |= RESPONSE;
        assert!(read(&answer).is_none());
        let mut pointer = whole.clone();
        pointer[HEADER] = 0xc0;
        assert_eq!(read(&pointer).unwrap().at_once(), Ok(Reply::Malformed));
        let mut update = whole.clone();
        update[2] |= 5 << 3;
        assert_eq!(read(&update).unwrap().at_once(), Ok(Reply::NotHere));
        let long = vec!["x".repeat(60); 5].join(".");
        assert_eq!(
            read(&asked(&long, A)).unwrap().at_once(),
            Ok(Reply::Malformed)
        );
    }
}
