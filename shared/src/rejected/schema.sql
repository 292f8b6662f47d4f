-- Requests that did not verify. Times are unix milliseconds. Nothing here is a secret in the clear: see rejected/seal.rs.

CREATE TABLE IF NOT EXISTS rejected (
    id          TEXT PRIMARY KEY,        -- a version 7 UUID: in the order in which they came
    source      TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    code        TEXT NOT NULL,           -- as the sender read it
    message     TEXT NOT NULL,
    method      TEXT NOT NULL,
    target      TEXT NOT NULL,           -- path and query
    body_bytes  INTEGER NOT NULL,        -- as received, kept or not
    bytes       INTEGER NOT NULL         -- what the row takes of the bound
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rejected_by_source ON rejected (source, id, bytes);

-- What is large lies apart, so that a list reads none of it.
CREATE TABLE IF NOT EXISTS contents (
    id      TEXT PRIMARY KEY,
    headers BLOB NOT NULL,               -- a line each, "name: value"
    body    BLOB,                        -- NULL: not kept
    seals   TEXT NOT NULL                -- JSON: what stands for a credential, and what tells it
);
