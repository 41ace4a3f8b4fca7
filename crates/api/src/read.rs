//! Reading requests strictly.
//!
//! [`Fields`] takes the known keys out of one JSON object and [`Fields::finish`] refuses what is
//! left. [`At`] is the place being read; every refusal begins with it. Serde's own derived readers
//! are not used for requests because they lose the place inside tagged unions.
//!
//! To add a request type: implement [`Read`], take each key exactly once, call `finish` last.

use std::fmt;

use serde_json::{Map, Value};

use crate::error::Invalid;
use crate::patch::Patch;

/// Something that a request can hold.
pub trait Read: Sized {
    /// Reads it from `value`, which stands at `at`.
    ///
    /// # Errors
    /// When the value is not one; the message begins with the place.
    fn read(value: Value, at: At<'_>) -> Result<Self, Invalid>;
}

/// Reads a whole request body.
///
/// # Errors
/// When it is not JSON, nests too deep, is not UTF-8, or is not a `T`.
pub fn body<T: Read>(bytes: &[u8]) -> Result<T, Invalid> {
    let value = serde_json::from_slice(bytes)
        .map_err(|error| Invalid::new(format!("the request body is not valid JSON: {error}")))?;
    T::read(value, At::root())
}

/// A place in a request, such as `tools.0.name`.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl At<'static> {
    /// The whole request.
    #[must_use]
    pub fn root() -> At<'static> {
        At {
            parent: None,
            step: Step::Root,
        }
    }
}

impl<'a> At<'a> {
    /// The value under `key`.
    #[must_use]
    pub fn key(&'a self, key: &'a str) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    /// The `index`th item, counted from zero.
    #[must_use]
    pub fn index(&'a self, index: usize) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    /// A refusal at this place.
    #[must_use]
    pub fn invalid(&self, what: impl fmt::Display) -> Invalid {
        Invalid::new(format!("{self}: {what}"))
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self
            .parent
            .filter(|parent| !matches!(parent.step, Step::Root))
        {
            write!(f, "{parent}.")?;
        }
        match self.step {
            Step::Root => f.write_str("request body"),
            // A key may be the client's own, and the message goes to logs and terminals.
            Step::Key(key) => key.chars().try_for_each(|one| match one.is_control() {
                true => write!(f, "{}", one.escape_default()),
                false => fmt::Write::write_char(f, one),
            }),
            Step::Index(index) => write!(f, "{index}"),
        }
    }
}

/// The keys of one object, taken one by one.
pub struct Fields<'a> {
    at: At<'a>,
    left: Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Opens the object at `at`.
    ///
    /// # Errors
    /// When the value is not an object.
    pub fn of(value: Value, at: At<'a>) -> Result<Fields<'a>, Invalid> {
        match value {
            Value::Object(left) => Ok(Fields {
                at,
                left,
                known: Vec::new(),
            }),
            other => Err(at.invalid(expected("an object", &other))),
        }
    }

    /// Where the object stands.
    #[must_use]
    pub fn at(&self) -> At<'a> {
        self.at
    }

    /// Takes a key in its three states: absent, null, value.
    ///
    /// # Errors
    /// When the value is not a `T`.
    pub fn patch<T: Read>(&mut self, key: &'static str) -> Result<Patch<T>, Invalid> {
        self.known.push(key);
        match self.left.remove(key) {
            None => Ok(Patch::Absent),
            Some(Value::Null) => Ok(Patch::Null),
            Some(value) => T::read(value, self.at.key(key)).map(Patch::Value),
        }
    }

    /// Takes a key that may be absent or null, which mean the same.
    ///
    /// # Errors
    /// When the value is not a `T`.
    pub fn optional<T: Read>(&mut self, key: &'static str) -> Result<Option<T>, Invalid> {
        Ok(self.patch(key)?.value())
    }

    /// Takes a key that may be absent but not null.
    ///
    /// # Errors
    /// When the value is null or not a `T`.
    pub fn not_null<T: Read>(&mut self, key: &'static str) -> Result<Option<T>, Invalid> {
        match self.patch(key)? {
            Patch::Null => Err(self.at.key(key).invalid("cannot be null")),
            patch => Ok(patch.value()),
        }
    }

    /// Takes a key that must be there.
    ///
    /// # Errors
    /// When it is absent, null or not a `T`.
    pub fn required<T: Read>(&mut self, key: &'static str) -> Result<T, Invalid> {
        self.not_null(key)?
            .ok_or_else(|| self.at.key(key).invalid("field required"))
    }

    /// Takes the `type` key (or another discriminator) without judging it.
    ///
    /// # Errors
    /// When it is absent or not a string.
    pub fn tag(&mut self, key: &'static str) -> Result<String, Invalid> {
        self.required(key)
    }

    /// Takes a `type` key that can only be `value`.
    ///
    /// # Errors
    /// When it is absent or something else.
    pub fn literal(&mut self, key: &'static str, value: &str) -> Result<(), Invalid> {
        let given = self.tag(key)?;
        if given == value {
            return Ok(());
        }
        Err(self
            .at
            .key(key)
            .invalid(format!("must be `{value}`, got {}", quoted(&given))))
    }

    /// Refuses whatever was not taken.
    ///
    /// # Errors
    /// When a key is left; the message names it and the keys that are known.
    pub fn finish(self) -> Result<(), Invalid> {
        let Some(key) = self.left.keys().next() else {
            return Ok(());
        };
        let shown: String = key.chars().take(SHOWN).collect();
        let known: Vec<String> = self
            .known
            .iter()
            .map(|known| format!("`{known}`"))
            .collect();
        let known = if known.is_empty() {
            "no fields are".to_owned()
        } else {
            known.join(", ")
        };
        Err(self
            .at
            .key(&shown)
            .invalid(format!("unknown field; known here: {known}")))
    }
}

/// How much of a client's own text a message repeats.
const SHOWN: usize = 64;

/// A client's text as a message repeats it: cut, and with control characters escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// What a message says about a value of the wrong type.
#[must_use]
pub fn expected(what: &str, got: &Value) -> String {
    let got = match got {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    format!("must be {what}, got {got}")
}

/// Refuses a field that the contract has and this server does not act on yet.
///
/// Absent, null and empty values pass, because they ask for nothing.
///
/// # Errors
/// When the field asks for something.
pub fn unserved(fields: &mut Fields<'_>, key: &'static str) -> Result<(), Invalid> {
    let asks = match fields.patch::<Value>(key)? {
        Patch::Absent | Patch::Null => false,
        Patch::Value(Value::Array(items)) => !items.is_empty(),
        Patch::Value(Value::Object(keys)) => !keys.is_empty(),
        Patch::Value(_) => true,
    };
    if asks {
        Err(fields.at().key(key).invalid(NOT_SERVED))
    } else {
        Ok(())
    }
}

/// What the refusal of an unserved field says.
pub const NOT_SERVED: &str = "not served by this server yet; leave it out";

impl Read for Value {
    fn read(value: Value, _: At<'_>) -> Result<Value, Invalid> {
        Ok(value)
    }
}

impl Read for String {
    fn read(value: Value, at: At<'_>) -> Result<String, Invalid> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(at.invalid(expected("a string", &other))),
        }
    }
}

impl Read for bool {
    fn read(value: Value, at: At<'_>) -> Result<bool, Invalid> {
        value
            .as_bool()
            .ok_or_else(|| at.invalid(expected("a boolean", &value)))
    }
}

/// An integer from 1, such as a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positive(pub u32);

impl Read for Positive {
    fn read(value: Value, at: At<'_>) -> Result<Positive, Invalid> {
        let number = value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number > 0);
        number
            .map(Positive)
            .ok_or_else(|| at.invalid(expected("an integer from 1 to 4294967295", &value)))
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: Value, at: At<'_>) -> Result<Vec<T>, Invalid> {
        match value {
            Value::Array(items) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| T::read(item, at.index(index)))
                .collect(),
            other => Err(at.invalid(expected("a list", &other))),
        }
    }
}

impl Read for Map<String, Value> {
    fn read(value: Value, at: At<'_>) -> Result<Map<String, Value>, Invalid> {
        match value {
            Value::Object(map) => Ok(map),
            other => Err(at.invalid(expected("an object", &other))),
        }
    }
}
