-- Counts the changes of a key, so that one that was decided on older values can be refused.
ALTER TABLE api_keys ADD COLUMN revision bigint NOT NULL DEFAULT 1;
CREATE INDEX api_keys_org_name ON api_keys (org_id, name, id);

-- Answers to requests that came with a key of their own, without secrets; kept until they expire.
CREATE TABLE idempotency_keys (
    subject text NOT NULL,
    name text NOT NULL,
    fingerprint text NOT NULL,
    created_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL,
    status bigint,
    reply text,
    PRIMARY KEY (subject, name)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at_ms);
CREATE INDEX idempotency_keys_age ON idempotency_keys (subject, created_at_ms);
