-- The embedded store. Times are unix milliseconds; keys and hashes are 32 bytes.

-- The event log: one row per event, written once, by the commit that made the event durable.
CREATE TABLE IF NOT EXISTS events (
    seq          INTEGER PRIMARY KEY,
    event_key    BLOB NOT NULL UNIQUE,
    source       TEXT NOT NULL,
    event_id     TEXT NOT NULL,
    event_type   TEXT NOT NULL,
    received_at  INTEGER NOT NULL,
    request_id   TEXT NOT NULL,
    handlers     TEXT NOT NULL,          -- names of the handlers that want it, separated by commas
    content_type TEXT,
    headers      BLOB,                   -- as wire::WireMessage::header_block writes them
    body         BLOB,
    fingerprint  BLOB,                   -- what tells it from another event with its id; event::Event::fingerprint
    claimed_until INTEGER                -- until then the same event is a duplicate; NULL: nobody claimed it
);
CREATE INDEX IF NOT EXISTS events_by_id ON events (event_id);

-- The queue: one row per event and handler that is not settled.
CREATE TABLE IF NOT EXISTS jobs (
    id           INTEGER PRIMARY KEY,
    handler      TEXT NOT NULL,
    event_seq    INTEGER NOT NULL REFERENCES events (seq),
    ready_at     INTEGER NOT NULL,
    taken        INTEGER NOT NULL DEFAULT 0,   -- 1 while this process holds it; cleared when the store is opened
    deliveries   INTEGER NOT NULL DEFAULT 0,   -- how often it was taken since it was last put here
    attempt      INTEGER NOT NULL,
    ladder_start INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    replay_of    TEXT
);
CREATE INDEX IF NOT EXISTS jobs_ready ON jobs (handler, ready_at, id) WHERE taken = 0;
CREATE INDEX IF NOT EXISTS jobs_by_event ON jobs (event_seq);
CREATE INDEX IF NOT EXISTS jobs_dead ON jobs (id) WHERE taken = 0 AND deliveries >= 20;  -- queue::DELIVERY_LIMIT

-- Which event had a body first, of sources whose signature does not hold the id: to notice replays, and nothing else.
CREATE TABLE IF NOT EXISTS bodies (
    body     BLOB PRIMARY KEY,           -- event::BodyKey
    event_id TEXT NOT NULL,
    ends_at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bodies_by_end ON bodies (ends_at);

-- What external APIs answered: worth nothing but time, and bounded by cache::embedded.
CREATE TABLE IF NOT EXISTS api_cache (
    id         INTEGER PRIMARY KEY,      -- with rowid: values are large
    key        BLOB NOT NULL UNIQUE,
    value      BLOB NOT NULL,
    weight     INTEGER NOT NULL,         -- bytes that it counts towards the bound
    stored_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS api_cache_by_age ON api_cache (stored_at, weight);
CREATE INDEX IF NOT EXISTS api_cache_by_end ON api_cache (expires_at);
