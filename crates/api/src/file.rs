//! Files: what sessions produced, as clients see it. The content has an address of its own.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A file, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMetadata {
    /// `file_…`.
    pub id: String,
    /// Always `file`.
    #[serde(rename = "type")]
    pub kind: FileTag,
    /// Its name; of a session's result the path below the outputs directory.
    pub filename: String,
    /// What its name says that it is.
    pub mime_type: String,
    /// Bytes of its content.
    pub size_bytes: u64,
    /// When it was kept.
    pub created_at: Timestamp,
    /// Whether clients may have the content.
    pub downloadable: bool,
    /// Always null: how long files are kept is a property of the environment.
    pub expires_at: Option<Timestamp>,
    /// What it belongs to.
    pub scope: Option<FileScope>,
}

crate::literal! {
    /// The `type` of a file.
    FileTag = "file"
}

/// What a file belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileScope {
    /// Always `session`.
    #[serde(rename = "type")]
    pub kind: FileScopeTag,
    /// The session's id.
    pub id: String,
}

crate::literal! {
    /// The only kind of scope.
    FileScopeTag = "session"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_is_shown_with_every_key() {
        let file = FileMetadata {
            id: "file_1".to_owned(),
            kind: FileTag::Value,
            filename: "report.md".to_owned(),
            mime_type: "text/markdown".to_owned(),
            size_bytes: 3,
            created_at: Timestamp::parse("2026-11-22T12:00:00Z", "created_at").unwrap(),
            downloadable: true,
            expires_at: None,
            scope: Some(FileScope {
                kind: FileScopeTag::Value,
                id: "sesn_1".to_owned(),
            }),
        };
        let shown = json!({
            "id": "file_1", "type": "file", "filename": "report.md", "mime_type": "text/markdown", "size_bytes": 3,
            "created_at": "2026-11-22T12:00:00.000000Z", "downloadable": true, "expires_at": null,
            "scope": {"type": "session", "id": "sesn_1"},
        });
        assert_eq!(serde_json::to_value(&file).unwrap(), shown);
        assert_eq!(serde_json::from_value::<FileMetadata>(shown).unwrap(), file);
    }
}
