-- A session ends by its row going away; what it was is in the audit log.
CREATE TABLE sessions (
    id text PRIMARY KEY,
    hash text NOT NULL UNIQUE CHECK (length(hash) = 64),
    user_id text NOT NULL REFERENCES users (id),
    way text NOT NULL CHECK (way IN ('password', 'sso', 'invite')),
    address text NOT NULL,
    agent text NOT NULL,
    created_at_ms bigint NOT NULL,
    seen_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id, id);
CREATE INDEX sessions_expiry ON sessions (expires_at_ms);

-- Failed attempts to log in, by digests of accounts, of addresses and of both together.
CREATE TABLE login_attempts (
    subject text PRIMARY KEY,
    failures bigint NOT NULL,
    since_ms bigint NOT NULL,
    last_ms bigint NOT NULL,
    good_ms bigint
);
CREATE INDEX login_attempts_last ON login_attempts (last_ms);

-- The secret is encrypted; of a code that was used neither it nor an earlier one is taken again.
CREATE TABLE totp (
    user_id text PRIMARY KEY REFERENCES users (id),
    secret text NOT NULL,
    created_at_ms bigint NOT NULL,
    confirmed_at_ms bigint,
    last_step bigint NOT NULL DEFAULT 0
);

CREATE TABLE recovery_codes (
    user_id text NOT NULL REFERENCES users (id),
    hash text NOT NULL CHECK (length(hash) = 64),
    PRIMARY KEY (user_id, hash)
);

-- One at a time for each user, gone when it is used.
CREATE TABLE password_resets (
    user_id text PRIMARY KEY REFERENCES users (id),
    hash text NOT NULL UNIQUE CHECK (length(hash) = 64),
    created_by text,
    created_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL
);
