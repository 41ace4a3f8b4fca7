-- Vaults with credentials. What is secret of one is sealed by whoever writes it; this database has no key.
CREATE TABLE vaults (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT    NOT NULL UNIQUE,
    workspace_id  TEXT    NOT NULL REFERENCES workspaces (id),
    display_name  TEXT    NOT NULL,
    metadata      TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    archived_at   INTEGER
) STRICT;
CREATE INDEX vaults_by_date ON vaults (workspace_id, created_at);

CREATE TABLE credentials (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT    NOT NULL UNIQUE,
    vault_id      TEXT    NOT NULL REFERENCES vaults (id) ON DELETE CASCADE,
    -- Grows with every change, so that two that each read and write cannot lose one another's.
    revision      INTEGER NOT NULL,
    -- What no two active credentials of a vault have in common: an address or a variable.
    binding       TEXT    NOT NULL,
    display_name  TEXT,
    metadata      TEXT    NOT NULL,
    auth          TEXT    NOT NULL,
    -- Under which key it is sealed; that and the secret are gone when it is archived.
    key_id        TEXT,
    sealed        BLOB,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    archived_at   INTEGER
) STRICT;
CREATE INDEX credentials_by_date ON credentials (vault_id, created_at);
CREATE INDEX credentials_by_key ON credentials (key_id);
CREATE UNIQUE INDEX credentials_by_binding ON credentials (vault_id, binding) WHERE archived_at IS NULL;

-- What a session sees where a credential's value will be. It stays, because it stands in files of the session.
CREATE TABLE placeholders (
    session_id    TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    credential_id TEXT NOT NULL,
    text          TEXT NOT NULL UNIQUE,
    PRIMARY KEY (session_id, credential_id)
) STRICT, WITHOUT ROWID;

ALTER TABLE sessions ADD COLUMN vault_ids TEXT NOT NULL DEFAULT '[]';
