-- The claim of an event is a part of its row now: its end came to stand beside it.

ALTER TABLE events ADD COLUMN claimed_until INTEGER;
UPDATE events SET claimed_until = (SELECT expires_at FROM claims WHERE claims.event_key = events.event_key);
DROP TABLE claims;
