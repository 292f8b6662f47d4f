-- What tells events with one id apart, and what is still to be tried again.

ALTER TABLE inbox ADD COLUMN fingerprint BLOB;  -- event::Event::fingerprint; NULL: not known
CREATE INDEX attempts_by_time ON attempts (at);
