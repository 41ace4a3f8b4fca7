-- What was decided on the way out. Without references: it outlives what it names, and a row that could
-- not be kept would hold up those behind it.
CREATE TABLE audit (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace_id  TEXT NOT NULL,
    environment_id TEXT NOT NULL,
    session_id    TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    latency_ms    INTEGER NOT NULL,
    host          TEXT,
    port          INTEGER,
    method        TEXT,
    path          TEXT,
    verdict       TEXT NOT NULL,
    rule          TEXT NOT NULL,
    status        INTEGER,
    bytes_in      INTEGER NOT NULL,
    bytes_out     INTEGER NOT NULL,
    credential_id TEXT,
    cut           TEXT,
    lost          INTEGER
) STRICT;
CREATE INDEX audit_of_workspace ON audit (workspace_id, created_at, number);
CREATE INDEX audit_of_session ON audit (session_id, created_at, number, bytes_in, bytes_out);
