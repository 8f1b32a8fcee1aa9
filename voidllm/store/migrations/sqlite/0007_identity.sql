-- A session ends by its row going away; what it was is in the audit log.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),
    user_id TEXT NOT NULL REFERENCES users (id),
    way TEXT NOT NULL CHECK (way IN ('password', 'sso', 'invite')),
    address TEXT NOT NULL,
    agent TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    seen_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_user ON sessions (user_id, id);
CREATE INDEX sessions_expiry ON sessions (expires_at_ms);

-- Failed attempts to log in, by digests of accounts, of addresses and of both together.
CREATE TABLE login_attempts (
    subject TEXT PRIMARY KEY,
    failures INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    good_ms INTEGER
) STRICT;
CREATE INDEX login_attempts_last ON login_attempts (last_ms);

-- The secret is encrypted; of a code that was used neither it nor an earlier one is taken again.
CREATE TABLE totp (
    user_id TEXT PRIMARY KEY REFERENCES users (id),
    secret TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    confirmed_at_ms INTEGER,
    last_step INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE recovery_codes (
    user_id TEXT NOT NULL REFERENCES users (id),
    hash TEXT NOT NULL CHECK (length(hash) = 64),
    PRIMARY KEY (user_id, hash)
) STRICT;

-- One at a time for each user, gone when it is used.
CREATE TABLE password_resets (
    user_id TEXT PRIMARY KEY REFERENCES users (id),
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),
    created_by TEXT,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;
