-- Workspaces have names and limits, and keys say what they are for and how long. The keys of before open
-- the default workspace with every right, as they did.

-- `number` is the order of insertion: the table was made without it.
ALTER TABLE workspaces ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN name TEXT NOT NULL DEFAULT 'Default';
-- Checked where sessions are made; null is none. The other limits are the caller's JSON text.
ALTER TABLE workspaces ADD COLUMN max_sessions INTEGER;
ALTER TABLE workspaces ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';

CREATE TABLE new_keys (
    number          INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    workspace_id    TEXT    NOT NULL REFERENCES workspaces (id),
    -- The only environment that the key opens; null is all. It goes with its environment.
    environment_id  TEXT    REFERENCES environments (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    scope           TEXT    NOT NULL,
    sha256          BLOB    NOT NULL UNIQUE CHECK (length(sha256) = 32),
    hint            TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER,
    last_used_at    INTEGER
) STRICT;

INSERT INTO new_keys (id, workspace_id, name, scope, sha256, hint, created_at)
SELECT id, workspace_id, 'first key', 'admin', sha256, hint, created_at FROM keys ORDER BY created_at;

DROP TABLE keys;
ALTER TABLE new_keys RENAME TO keys;

CREATE INDEX keys_by_date ON keys (workspace_id, created_at);
CREATE INDEX keys_by_environment ON keys (environment_id);
