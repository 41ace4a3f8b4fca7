-- The common directory of sessions that work together: the last snapshot of it. Its line is called by
-- the environment.
CREATE TABLE common_snapshots (
    environment_id  TEXT    NOT NULL PRIMARY KEY REFERENCES environments (id) ON DELETE CASCADE,
    id              TEXT    NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
