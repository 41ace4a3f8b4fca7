-- Snapshots of sessions, files that sessions made, how long what has ended is kept, and daily sums
-- that outlive the sessions that caused them.

-- Microseconds after the end of a session, or the creation of a snapshot or file; null is for ever.
ALTER TABLE environments ADD COLUMN keep_sessions INTEGER;
ALTER TABLE environments ADD COLUMN keep_snapshots INTEGER;
ALTER TABLE environments ADD COLUMN keep_files INTEGER;

-- When the session was archived or terminated, whichever came first.
ALTER TABLE session_state ADD COLUMN ended_at INTEGER;

UPDATE session_state
SET ended_at = (SELECT coalesce(archived_at, session_state.updated_at) FROM sessions WHERE id = session_id)
WHERE status = 'terminated';

-- The log's last number when the entry came; of older entries it is not known.
ALTER TABLE transcripts ADD COLUMN at_seq INTEGER NOT NULL DEFAULT 0;

-- `id` names content: a fork has the same one, and a session can come back to an earlier one. `seq` is
-- the last number of the log that it includes.
CREATE TABLE snapshots (
    number      INTEGER PRIMARY KEY,
    session_id  TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    id          TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    files       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    written     INTEGER NOT NULL
) STRICT;

CREATE INDEX snapshots_by_seq ON snapshots (session_id, seq);

CREATE TABLE files (
    number        INTEGER PRIMARY KEY,
    id            TEXT    NOT NULL UNIQUE,
    workspace_id  TEXT    NOT NULL REFERENCES workspaces (id),
    session_id    TEXT    REFERENCES sessions (id) ON DELETE CASCADE,
    filename      TEXT    NOT NULL,
    mime_type     TEXT    NOT NULL,
    size_bytes    INTEGER NOT NULL,
    sha256        BLOB    NOT NULL CHECK (length(sha256) = 32),
    created_at    INTEGER NOT NULL,
    downloadable  INTEGER NOT NULL CHECK (downloadable IN (0, 1))
) STRICT;

CREATE INDEX files_by_date ON files (workspace_id, created_at);
CREATE INDEX files_by_session ON files (session_id, created_at);

-- One row per workspace, agent and day (days since 1970 in UTC). A session's calls are deleted with
-- it, what it has cost on its day is not.
CREATE TABLE daily_usage (
    workspace_id              TEXT    NOT NULL REFERENCES workspaces (id),
    day                       INTEGER NOT NULL,
    agent_id                  TEXT    NOT NULL REFERENCES agents (id),
    calls                     INTEGER NOT NULL,
    failed                    INTEGER NOT NULL,
    input_tokens              INTEGER NOT NULL,
    output_tokens             INTEGER NOT NULL,
    cache_read_tokens         INTEGER NOT NULL,
    cache_creation_5m_tokens  INTEGER NOT NULL,
    cache_creation_1h_tokens  INTEGER NOT NULL,
    cost_microcents           INTEGER NOT NULL,
    unpriced                  INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, day, agent_id)
) STRICT, WITHOUT ROWID;

INSERT INTO daily_usage
SELECT model_calls.workspace_id, started_at / 86400000000, agent_id, count(*), count(error),
       sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_creation_5m_tokens),
       sum(cache_creation_1h_tokens), coalesce(sum(cost_microcents), 0),
       count(*) - count(cost_microcents)
FROM model_calls JOIN sessions ON sessions.id = session_id
GROUP BY 1, 2, 3;
