//! How an input or output error is written down: the kernel's number, by which the reader makes the same
//! error, and its text for those that have none.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
struct Written {
    number: Option<i32>,
    text: String,
}

pub(super) fn serialize<S: Serializer>(
    error: &io::Error,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let written = Written {
        number: error.raw_os_error(),
        text: error.to_string(),
    };
    written.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<io::Error, D::Error> {
    let written = Written::deserialize(deserializer)?;
    Ok(match written.number {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(written.text),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::provider::ProviderError;

    #[test]
    fn an_error_says_the_same_after_it_was_written_down() {
        let full = io::Error::from_raw_os_error(28);
        for source in [full, io::Error::other("the kernel is cross")] {
            let (kind, text) = (source.kind(), source.to_string());
            let step = "copy the disk image".to_owned();
            let error = ProviderError::Host { step, source };
            let written = serde_json::to_string(&error).unwrap();
            let ProviderError::Host { source, .. } = serde_json::from_str(&written).unwrap() else {
                panic!("{written} is another error");
            };
            assert_eq!((source.kind(), source.to_string()), (kind, text));
        }
    }
}
