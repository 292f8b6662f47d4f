-- The ledger's tables, of the same shape as in the embedded store. Times are unix milliseconds.

CREATE TABLE events (
    seq          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_key    BYTEA NOT NULL UNIQUE,
    source       TEXT NOT NULL,
    event_id     TEXT NOT NULL,
    event_type   TEXT NOT NULL,
    received_at  BIGINT NOT NULL,
    request_id   TEXT NOT NULL,
    handlers     TEXT NOT NULL,          -- names of the handlers that want it, separated by commas
    content_type TEXT,
    headers      BYTEA,                  -- as wire::WireMessage::header_block writes them; NULL unless archived
    body         BYTEA
);
CREATE INDEX events_by_id ON events (event_id);

CREATE TABLE inbox (
    event_key  BYTEA NOT NULL,
    handler    TEXT NOT NULL,
    epoch      BIGINT NOT NULL,
    source     TEXT NOT NULL,
    attempts   BIGINT NOT NULL,
    applied_at BIGINT,                   -- NULL: an operator discarded it, so that it is never applied
    PRIMARY KEY (event_key, handler, epoch)
);

CREATE TABLE attempts (
    event_key BYTEA NOT NULL,
    handler   TEXT NOT NULL,
    epoch     BIGINT NOT NULL,
    attempt   BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    error     TEXT NOT NULL,
    PRIMARY KEY (event_key, handler, epoch, attempt)
);

CREATE SEQUENCE dead_letter_seq;
CREATE TABLE dead_letters (
    seq          BIGINT NOT NULL,        -- raised when it dies again: the newest death stands first
    id           TEXT PRIMARY KEY,
    dedupe_key   TEXT NOT NULL UNIQUE,
    handler      TEXT NOT NULL,
    source       TEXT,
    event_id     TEXT,
    event_key    BYTEA,                  -- NULL: the message could not be read
    event_type   TEXT NOT NULL,
    reason       TEXT NOT NULL,
    attempts     BIGINT NOT NULL,
    dead_at      BIGINT NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('dead', 'replayed', 'delivered', 'discarded')),
    message_id   TEXT NOT NULL,
    content_type TEXT,
    sent_at      BIGINT NOT NULL,        -- the message's own timestamp, in seconds
    headers      BYTEA NOT NULL,
    body         BYTEA NOT NULL,
    attempt      BIGINT NOT NULL,
    ladder_start BIGINT NOT NULL,
    epoch        BIGINT NOT NULL,
    replay_of    TEXT
);
CREATE INDEX dead_letters_by_event ON dead_letters (event_key) WHERE event_key IS NOT NULL;
CREATE INDEX dead_letters_open ON dead_letters (seq) WHERE status = 'dead';
