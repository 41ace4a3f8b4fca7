//! Replaces texts by others in bytes that come piece by piece. A text that lies across pieces is found
//! as well: of a piece, what may be the beginning of one is held back until the next.
//!
//! Never hands on a byte of a text that it was given to replace.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use memchr::{memchr_iter, memmem};

use crate::secret::{Secret, Slot};

/// A text and what stands in its place.
pub(crate) struct Pair {
    pub(crate) text: Secret,
    pub(crate) instead: Bytes,
    /// The credential that it belongs to.
    pub(crate) slot: Slot,
}

/// Texts with what stands in their place. Shared by all who search for them.
#[derive(Clone, Default)]
pub(crate) struct Pairs(Arc<Vec<Pair>>);

impl Pairs {
    /// Empty texts are left out.
    pub(crate) fn new(mut pairs: Vec<Pair>) -> Self {
        pairs.retain(|pair| !pair.text.bytes().is_empty());
        // Of two that begin at one place, the longer one is the one that is meant.
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.text.bytes().len()));
        Self(Arc::new(pairs))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose texts stand in a whole one.
    pub(crate) fn found_in<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a Slot> {
        let found = |pair: &&Pair| memmem::find(text, pair.text.bytes()).is_some();
        self.0.iter().filter(found).map(|pair| &pair.slot)
    }

    /// Replaces in a whole text; `None` when there is nothing to replace.
    pub(crate) fn replace(&self, text: &[u8]) -> Option<Bytes> {
        self.found_in(text).next()?;
        let mut replacer = Replacer::new(self.clone());
        let mut replaced = BytesMut::from(&replacer.feed(text)[..]);
        replaced.extend_from_slice(&replacer.finish());
        Some(replaced.freeze())
    }
}

/// Replaces in a stream.
pub(crate) struct Replacer {
    pairs: Pairs,
    /// What was read and may be the beginning of a text.
    held: BytesMut,
    /// Which were found and not told yet.
    found: Vec<usize>,
}

impl Replacer {
    pub(crate) fn new(pairs: Pairs) -> Self {
        Self {
            pairs,
            held: BytesMut::new(),
            found: Vec::new(),
        }
    }

    /// Whose texts were replaced since this was asked last.
    pub(crate) fn found(&mut self) -> Vec<Slot> {
        let pairs = &self.pairs.0;
        let found = self.found.drain(..);
        found.map(|index| pairs[index].slot.clone()).collect()
    }

    /// Replaces in headers, which are whole.
    pub(crate) fn clean(&mut self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            let Some(clean) = self.pairs.replace(value.as_bytes()) else {
                continue;
            };
            // What stands in the place of a text is a header value like the text was.
            *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static(""));
        }
    }

    /// Takes the next bytes and gives those that may be handed on.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Bytes {
        self.held.extend_from_slice(bytes);
        let mut out = BytesMut::with_capacity(self.held.len());
        self.swap(&mut out, false);
        out.freeze()
    }

    /// Gives what is left: nothing more comes.
    pub(crate) fn finish(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        self.swap(&mut out, true);
        out.freeze()
    }

    /// Moves what may be handed on into `out`, with every text replaced. Unless it is the `last` time, what
    /// may be the beginning of a text stays.
    fn swap(&mut self, out: &mut BytesMut, last: bool) {
        let pairs = Arc::clone(&self.pairs.0);
        let held = &self.held[..];
        let find = |from: usize, text: &Secret| {
            memmem::find(&held[from..], text.bytes()).map(|found| from + found)
        };
        let open = |from| {
            if last {
                held.len()
            } else {
                begins(&pairs, held, from)
            }
        };
        // Where each is found next, so that every byte is searched once for each text.
        let mut next: Vec<Option<usize>> = pairs.iter().map(|pair| find(0, &pair.text)).collect();
        let (mut at, mut end) = (0, open(0));
        loop {
            let found = (next.iter().enumerate())
                .filter_map(|(index, found)| found.map(|found| (found, index)))
                .min();
            // One that begins before it, and is not whole yet, may be the one that is meant.
            let Some((found, index)) = found.filter(|(found, _)| *found < end) else {
                break;
            };
            if !self.found.contains(&index) {
                self.found.push(index);
            }
            out.extend_from_slice(&held[at..found]);
            out.extend_from_slice(&pairs[index].instead);
            at = found + pairs[index].text.bytes().len();
            if end < at {
                end = open(at);
            }
            for (place, pair) in next.iter_mut().zip(pairs.iter()) {
                if place.is_some_and(|place| place < at) {
                    *place = find(at, &pair.text);
                }
            }
        }
        out.extend_from_slice(&held[at..end]);
        self.held.advance(end);
    }
}

/// From where on what is held may be a text that is not whole yet; its end when nothing is.
fn begins(pairs: &[Pair], held: &[u8], from: usize) -> usize {
    let first = |pair: &Pair| {
        let text = pair.text.bytes();
        let from = from.max((held.len() + 1).saturating_sub(text.len()));
        let whole = |at: &usize| text.starts_with(&held[from + *at..]);
        let first = memchr_iter(text[0], &held[from..]).find(whole);
        first.map_or(held.len(), |at| from + at)
    };
    pairs.iter().map(first).min().unwrap_or(held.len())
}

/// How a value may stand in an answer: as it is, in an address, in JSON.
pub(crate) fn forms(value: &[u8]) -> Vec<Secret> {
    let mut forms = vec![value.to_vec()];
    let mut add = |form: Vec<u8>| {
        if !forms.contains(&form) {
            forms.push(form);
        }
    };
    for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
        let mut form = Vec::with_capacity(value.len());
        for byte in value {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
                form.push(*byte);
            } else {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                form.extend_from_slice(&[b'%', digits[high], digits[low]]);
            }
        }
        add(form);
    }
    if let Ok(text) = std::str::from_utf8(value)
        && let Ok(json) = serde_json::to_string(text)
    {
        let json = json.trim_matches('"');
        add(json.as_bytes().to_vec());
        add(json.replace('/', "\\/").into_bytes());
    }
    forms.into_iter().map(Secret::of).collect()
}

/// A text without these values, in whatever form they stand in it.
#[must_use]
pub fn without(text: &[u8], values: &[&str]) -> Bytes {
    let hidden = |value: &&str| {
        forms(value.as_bytes()).into_iter().map(|text| Pair {
            text,
            instead: Bytes::from_static(b"[hidden]"),
            slot: Slot(String::new()),
        })
    };
    let pairs = Pairs::new(values.iter().flat_map(hidden).collect());
    let replaced = pairs.replace(text);
    replaced.unwrap_or_else(|| Bytes::copy_from_slice(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        let owned = |(text, new): &(&str, &str)| Pair {
            text: Secret::new(*text),
            instead: Bytes::copy_from_slice(new.as_bytes()),
            slot: Slot("c".into()),
        };
        Pairs::new(pairs.iter().map(owned).collect())
    }

    fn run(pairs: &Pairs, pieces: &[&str]) -> (Vec<String>, String) {
        let mut replacer = Replacer::new(pairs.clone());
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let each = pieces
            .iter()
            .map(|piece| text(replacer.feed(piece.as_bytes())))
            .collect();
        (each, text(replacer.finish()))
    }

    #[test]
    fn texts_are_found_across_pieces_and_nothing_of_them_is_handed_on() {
        let secret = pairs(&[("secret", "SLOT")]);
        for (pieces, each, rest) in [
            (&["a secret b"][..], &["a SLOT b"][..], ""),
            (&["a sec", "ret b"], &["a ", "SLOT b"], ""),
            (
                &["s", "e", "c", "r", "e", "t"],
                &["", "", "", "", "", "SLOT"],
                "",
            ),
            (&["secsecret"], &["secSLOT"], ""),
            (&["sec", "ond"], &["", "second"], ""),
            (&["the end: secre"], &["the end: "], "secre"),
            (&["secretsecret"], &["SLOTSLOT"], ""),
            (&["sesecretcret"], &["seSLOTcret"], ""),
            (&["", "x"], &["", "x"], ""),
        ] {
            let (said, left) = run(&secret, pieces);
            assert_eq!(
                (said.as_slice(), left.as_str()),
                (
                    &each.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..],
                    rest
                ),
                "{pieces:?}"
            );
        }
    }

    #[test]
    fn of_two_texts_that_begin_alike_the_longer_one_is_meant() {
        let both = pairs(&[("token", "A"), ("token-long", "B")]);
        for (pieces, expected) in [
            (&["token token-long"][..], "A B"),
            (&["token", "-long."], "B."),
            (&["token", "-short"], "A-short"),
            (&["token"], "A"),
        ] {
            let (said, left) = run(&both, pieces);
            assert_eq!(said.concat() + &left, expected, "{pieces:?}");
        }
    }

    #[test]
    fn values_are_hidden_in_every_form() {
        let text = br#"a/b=c&d a%2Fb%3Dc%26d {"k":"a\/b=c&d"}"#;
        let text = without(text, &["a/b=c&d", ""]);
        assert_eq!(&text[..], br#"[hidden] [hidden] {"k":"[hidden]"}"#);
    }

    #[test]
    fn a_whole_text_is_copied_only_when_something_is_in_it() {
        let secret = pairs(&[("secret", "x"), ("", "y")]);
        assert!(secret.replace(b"nothing").is_none());
        assert_eq!(secret.replace(b"a secret").as_deref(), Some(&b"a x"[..]));
        assert!(pairs(&[]).is_empty() && pairs(&[("", "y")]).is_empty());
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_text_is_the_same(text in "[ab]{0,40}", cuts in proptest::collection::vec(0usize..40, 0..8)) {
            let pairs = pairs(&[("abab", "1"), ("aab", "2"), ("abaab", "3")]);
            let whole = run(&pairs, &[&text]);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            pieces.push(&text[from..]);
            let cut = run(&pairs, &pieces);
            prop_assert_eq!(whole.0.concat() + &whole.1, cut.0.concat() + &cut.1);
        }
    }
}
