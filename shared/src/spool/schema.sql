-- A spool: events that wait for the broker. Times are unix milliseconds; keys and hashes are 32 bytes.

-- One row per event, in the order in which they came. The bodies lie apart, so that this stays small to read.
CREATE TABLE IF NOT EXISTS waiting (
    id          INTEGER PRIMARY KEY,
    event_key   BLOB NOT NULL UNIQUE,
    source      TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    event_type  TEXT NOT NULL,
    fingerprint BLOB NOT NULL,               -- event::Event::fingerprint
    window_ms   INTEGER NOT NULL,            -- how long its claim is remembered
    spooled_at  INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    tries       INTEGER NOT NULL DEFAULT 0,  -- publishes of it alone that failed; above 0 it waits behind the others
    retry_at    INTEGER NOT NULL DEFAULT 0,
    reason      TEXT                         -- why the last of them failed
);
CREATE INDEX IF NOT EXISTS waiting_first ON waiting (id) WHERE tries = 0;
CREATE INDEX IF NOT EXISTS waiting_behind ON waiting (retry_at) WHERE tries > 0;

CREATE TABLE IF NOT EXISTS messages (
    id           INTEGER PRIMARY KEY,
    content_type TEXT,
    timestamp    INTEGER NOT NULL,
    headers      BLOB NOT NULL,              -- as wire::WireMessage::header_block writes them
    body         BLOB NOT NULL
);
