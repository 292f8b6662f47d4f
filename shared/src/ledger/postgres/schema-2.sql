-- Steps, idempotency keys and grants. Of the same shape as in the embedded store; times are unix milliseconds.

ALTER TABLE inbox ADD COLUMN outcome TEXT;  -- NULL: applied; 'compensated': what its steps did was undone

-- No epoch: a replay resumes where the first run stopped.
CREATE TABLE steps (
    seq       BIGINT GENERATED ALWAYS AS IDENTITY,  -- the order in which they were recorded
    event_key BYTEA NOT NULL,
    handler   TEXT NOT NULL,
    step      TEXT NOT NULL,
    undo      BIGINT NOT NULL CHECK (undo IN (0, 1)),
    outcome   TEXT NOT NULL CHECK (outcome IN ('done', 'rejected')),
    result    TEXT,                                 -- JSON, of a step that is done
    reason    TEXT,                                 -- of one that was rejected
    attempt   BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (event_key, handler, step, undo)
);
CREATE INDEX steps_rejected ON steps (event_key) WHERE outcome = 'rejected';

CREATE TABLE idempotency_keys (
    scope        TEXT NOT NULL,
    key          TEXT NOT NULL,
    fingerprint  BYTEA NOT NULL,
    owner        TEXT NOT NULL,
    lease_until  BIGINT NOT NULL,
    status       BIGINT,                            -- NULL: its request is not answered yet
    content_type TEXT,
    body         BYTEA,
    expires_at   BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);

CREATE TABLE grants (
    api            TEXT PRIMARY KEY,
    version        BIGINT NOT NULL,                 -- raised by each login, renewal and loss
    sealed         BYTEA,                           -- NULL: lost, and only a login brings it back
    problem        TEXT,
    renewing_until BIGINT,                          -- NULL: nobody renews it
    updated_at     BIGINT NOT NULL
);
