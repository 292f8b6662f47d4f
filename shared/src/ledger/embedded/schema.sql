-- The ledger's tables beside `events`, which the store's own schema makes. Times are unix milliseconds.

CREATE TABLE inbox (
    event_key  BLOB NOT NULL,
    handler    TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    source     TEXT NOT NULL,
    attempts   INTEGER NOT NULL,
    applied_at INTEGER,                  -- NULL: an operator discarded it, so that it is never applied
    PRIMARY KEY (event_key, handler, epoch)
) WITHOUT ROWID;

CREATE TABLE attempts (
    event_key BLOB NOT NULL,
    handler   TEXT NOT NULL,
    epoch     INTEGER NOT NULL,
    attempt   INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    error     TEXT NOT NULL,
    PRIMARY KEY (event_key, handler, epoch, attempt)
);

CREATE TABLE dead_letters (
    seq          INTEGER PRIMARY KEY,    -- raised when it dies again: the newest death stands first
    id           TEXT NOT NULL UNIQUE,
    dedupe_key   TEXT NOT NULL UNIQUE,
    handler      TEXT NOT NULL,
    source       TEXT,
    event_id     TEXT,
    event_key    BLOB,                   -- NULL: the message could not be read
    event_type   TEXT NOT NULL,
    reason       TEXT NOT NULL,
    attempts     INTEGER NOT NULL,
    dead_at      INTEGER NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('dead', 'replayed', 'delivered', 'discarded')),
    message_id   TEXT NOT NULL,
    content_type TEXT,
    sent_at      INTEGER NOT NULL,       -- the message's own timestamp, in seconds
    headers      BLOB NOT NULL,
    body         BLOB NOT NULL,
    attempt      INTEGER NOT NULL,
    ladder_start INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    replay_of    TEXT
);
CREATE INDEX dead_letters_by_event ON dead_letters (event_key) WHERE event_key IS NOT NULL;
CREATE INDEX dead_letters_open ON dead_letters (seq) WHERE status = 'dead';
