-- Times are microseconds since 1970 in UTC. `number` columns are row ids: the order of insertion,
-- used to break ties in lists. Bodies are JSON text that this crate stores and returns byte for byte.

CREATE TABLE workspaces (
    id          TEXT    NOT NULL PRIMARY KEY,
    created_at  INTEGER NOT NULL
) STRICT;

INSERT INTO workspaces (id, created_at) VALUES ('wrkspc_default', 0);

CREATE TABLE keys (
    id            TEXT    NOT NULL PRIMARY KEY,
    workspace_id  TEXT    NOT NULL REFERENCES workspaces (id),
    sha256        BLOB    NOT NULL UNIQUE CHECK (length(sha256) = 32),
    hint          TEXT    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE agents (
    number        INTEGER PRIMARY KEY,
    id            TEXT    NOT NULL UNIQUE,
    workspace_id  TEXT    NOT NULL REFERENCES workspaces (id),
    version       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    archived_at   INTEGER
) STRICT;

CREATE INDEX agents_by_date ON agents (workspace_id, created_at);

CREATE TABLE agent_versions (
    agent_id    TEXT    NOT NULL REFERENCES agents (id),
    version     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    PRIMARY KEY (agent_id, version)
) STRICT;

CREATE TABLE environments (
    number        INTEGER PRIMARY KEY,
    id            TEXT    NOT NULL UNIQUE,
    workspace_id  TEXT    NOT NULL REFERENCES workspaces (id),
    revision      INTEGER NOT NULL,
    body          TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    archived_at   INTEGER
) STRICT;

CREATE INDEX environments_by_date ON environments (workspace_id, created_at);

-- What rarely changes about a session. The snapshots can be large, so what changes with every
-- commit lives in session_state, where rewriting a row is cheap.
CREATE TABLE sessions (
    number          INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    workspace_id    TEXT    NOT NULL REFERENCES workspaces (id),
    agent_id        TEXT    NOT NULL REFERENCES agents (id),
    agent_version   INTEGER NOT NULL,
    agent           TEXT    NOT NULL,
    environment_id  TEXT    NOT NULL REFERENCES environments (id),
    environment     TEXT    NOT NULL,
    title           TEXT,
    metadata        TEXT    NOT NULL,
    budget          TEXT,
    created_at      INTEGER NOT NULL,
    archived_at     INTEGER
) STRICT;

CREATE INDEX sessions_by_date ON sessions (workspace_id, created_at);
CREATE INDEX sessions_by_agent ON sessions (agent_id, created_at);
CREATE INDEX sessions_by_environment ON sessions (environment_id);

CREATE TABLE session_state (
    session_id      TEXT    NOT NULL PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    status          TEXT    NOT NULL CHECK (status IN ('idle', 'running', 'rescheduling', 'terminated')),
    attention       INTEGER NOT NULL CHECK (attention IN (0, 1)),
    fence           INTEGER NOT NULL,
    owner           TEXT,
    claude_session  TEXT    NOT NULL,
    usage           TEXT    NOT NULL,
    stats           TEXT    NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX session_state_unfinished ON session_state (status)
    WHERE status IN ('running', 'rescheduling') OR attention = 1;

-- The log. `position` is the order of arrival; `seq`, without gaps from 1, is the order of processing
-- and stays null while an event is queued.
CREATE TABLE events (
    position      INTEGER PRIMARY KEY,
    session_id    TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    seq           INTEGER,
    id            TEXT    NOT NULL UNIQUE,
    kind          TEXT    NOT NULL,
    processed_at  INTEGER,
    body          TEXT    NOT NULL,
    CHECK ((seq IS NULL) = (processed_at IS NULL))
) STRICT;

-- Not partial: cascading deletes need it for queued events too, which it keeps in order of position.
CREATE UNIQUE INDEX events_log ON events (session_id, seq);
CREATE INDEX events_queued ON events (session_id) WHERE seq IS NULL;

CREATE TABLE transcripts (
    position    INTEGER PRIMARY KEY,
    session_id  TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    subpath     TEXT    NOT NULL,
    uuid        TEXT,
    body        TEXT    NOT NULL
) STRICT;

-- Entries without a uuid are never duplicates of each other: nulls are distinct.
CREATE UNIQUE INDEX transcripts_by_uuid ON transcripts (session_id, uuid, subpath);

CREATE TABLE model_calls (
    number                    INTEGER PRIMARY KEY,
    id                        TEXT    NOT NULL UNIQUE,
    session_id                TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    workspace_id              TEXT    NOT NULL REFERENCES workspaces (id),
    model                     TEXT    NOT NULL,
    started_at                INTEGER NOT NULL,
    status                    INTEGER NOT NULL,
    latency_ms                INTEGER NOT NULL,
    ttft_ms                   INTEGER,
    input_tokens              INTEGER NOT NULL,
    output_tokens             INTEGER NOT NULL,
    cache_read_tokens         INTEGER NOT NULL,
    cache_creation_5m_tokens  INTEGER NOT NULL,
    cache_creation_1h_tokens  INTEGER NOT NULL,
    cost_microcents           INTEGER,
    error                     TEXT,
    request_id                TEXT
) STRICT;

CREATE INDEX model_calls_by_session ON model_calls (session_id);
