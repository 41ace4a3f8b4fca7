-- Transcripts that Agent SDK programs keep here, by the keys of the SDK's session store. What is in an
-- entry and in a summary is the SDK's own. `environment_id` is empty for keys of a whole workspace.
CREATE TABLE kept_sessions (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace_id   TEXT NOT NULL,
    environment_id TEXT NOT NULL,
    project        TEXT NOT NULL,
    session        TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    -- The main transcript's last change; null while there are only other files.
    changed_at     INTEGER,
    summary        TEXT,
    revision       INTEGER NOT NULL DEFAULT 0,
    bytes          INTEGER NOT NULL DEFAULT 0,
    UNIQUE (workspace_id, environment_id, project, session)
) STRICT;

CREATE TABLE kept_entries (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    session  INTEGER NOT NULL REFERENCES kept_sessions (number) ON DELETE CASCADE,
    subpath  TEXT NOT NULL,
    uuid     TEXT,
    body     TEXT NOT NULL,
    UNIQUE (session, subpath, uuid)
) STRICT;
CREATE INDEX kept_entries_in_order ON kept_entries (session, subpath, position);
