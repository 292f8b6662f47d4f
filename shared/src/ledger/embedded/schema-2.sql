-- Steps, idempotency keys and grants. Times are unix milliseconds.

ALTER TABLE inbox ADD COLUMN outcome TEXT;  -- NULL: applied; 'compensated': what its steps did was undone

-- No epoch: a replay resumes where the first run stopped.
CREATE TABLE steps (
    seq       INTEGER PRIMARY KEY,       -- the order in which they were recorded
    event_key BLOB NOT NULL,
    handler   TEXT NOT NULL,
    step      TEXT NOT NULL,
    undo      INTEGER NOT NULL CHECK (undo IN (0, 1)),
    outcome   TEXT NOT NULL CHECK (outcome IN ('done', 'rejected')),
    result    TEXT,                      -- JSON, of a step that is done
    reason    TEXT,                      -- of one that was rejected
    attempt   INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    UNIQUE (event_key, handler, step, undo)
);
CREATE INDEX steps_rejected ON steps (event_key) WHERE outcome = 'rejected';

CREATE TABLE idempotency_keys (
    scope        TEXT NOT NULL,
    key          TEXT NOT NULL,
    fingerprint  BLOB NOT NULL,
    owner        TEXT NOT NULL,
    lease_until  INTEGER NOT NULL,
    status       INTEGER,                -- NULL: its request is not answered yet
    content_type TEXT,
    body         BLOB,
    expires_at   INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);

CREATE TABLE grants (
    api            TEXT PRIMARY KEY,
    version        INTEGER NOT NULL,     -- raised by each login, renewal and loss
    sealed         BLOB,                 -- NULL: lost, and only a login brings it back
    problem        TEXT,
    renewing_until INTEGER,              -- NULL: nobody renews it
    updated_at     INTEGER NOT NULL
) WITHOUT ROWID;
