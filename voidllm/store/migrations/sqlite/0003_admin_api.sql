-- Counts the changes of a key, so that one that was decided on older values can be refused.
ALTER TABLE api_keys ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
CREATE INDEX api_keys_org_name ON api_keys (org_id, name, id);

-- Answers to requests that came with a key of their own, without secrets; kept until they expire.
CREATE TABLE idempotency_keys (
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    status INTEGER,
    reply TEXT,
    PRIMARY KEY (subject, name)
) STRICT;
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at_ms);
CREATE INDEX idempotency_keys_age ON idempotency_keys (subject, created_at_ms);
