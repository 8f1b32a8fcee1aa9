ALTER TABLE organizations ADD COLUMN timezone TEXT NOT NULL DEFAULT 'UTC';
ALTER TABLE organizations ADD COLUMN updated_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE teams ADD COLUMN updated_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN updated_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN must_change_password INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN auth_provider TEXT NOT NULL DEFAULT 'local';
ALTER TABLE service_accounts ADD COLUMN updated_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE service_accounts ADD COLUMN created_by TEXT;
ALTER TABLE api_keys ADD COLUMN updated_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN created_by TEXT;
-- JSON: a list of networks, and an object of texts.
ALTER TABLE api_keys ADD COLUMN addresses TEXT;
ALTER TABLE api_keys ADD COLUMN tags TEXT;
CREATE INDEX api_keys_user ON api_keys (user_id);
CREATE INDEX api_keys_team ON api_keys (team_id);
CREATE INDEX api_keys_service_account ON api_keys (service_account_id);
CREATE INDEX org_memberships_user ON org_memberships (user_id);

CREATE TABLE team_memberships (
    team_id TEXT NOT NULL,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('member', 'team_admin')),
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (team_id, user_id),
    FOREIGN KEY (team_id, org_id) REFERENCES teams (id, org_id),
    FOREIGN KEY (org_id, user_id) REFERENCES org_memberships (org_id, user_id) ON DELETE CASCADE
) STRICT;
CREATE INDEX team_memberships_user ON team_memberships (user_id, org_id);

-- What each version changed, so that a snapshot need not be built anew; the oldest rows are dropped.
CREATE TABLE changes (
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (version, kind, id)
) STRICT, WITHOUT ROWID;

-- Every entry's hash covers the one before, so that none can be altered or taken out unseen.
CREATE TABLE audit_log (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    at_ms INTEGER NOT NULL,
    org_id TEXT,
    team_id TEXT,
    actor_type TEXT NOT NULL,
    actor_id TEXT,
    actor_name TEXT NOT NULL,
    actor_key_id TEXT,
    on_behalf_of TEXT,
    action TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT,
    status INTEGER NOT NULL,
    error_code TEXT NOT NULL,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL,
    diff TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_log_org ON audit_log (org_id, seq);
CREATE INDEX audit_log_at ON audit_log (at_ms);

-- The newest entry, and the newest of those that were dropped for their age.
CREATE TABLE audit_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    dropped_seq INTEGER NOT NULL,
    dropped_hash TEXT NOT NULL
) STRICT;
INSERT INTO audit_head (id, seq, hash, dropped_seq, dropped_hash) VALUES (1, 0, '', 0, '');
