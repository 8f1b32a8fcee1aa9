ALTER TABLE organizations ADD COLUMN timezone text NOT NULL DEFAULT 'UTC';
ALTER TABLE organizations ADD COLUMN updated_at_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE teams ADD COLUMN updated_at_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN updated_at_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN must_change_password bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN auth_provider text NOT NULL DEFAULT 'local';
ALTER TABLE service_accounts ADD COLUMN updated_at_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE service_accounts ADD COLUMN created_by text;
ALTER TABLE api_keys ADD COLUMN updated_at_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN created_by text;
-- JSON: a list of networks, and an object of texts.
ALTER TABLE api_keys ADD COLUMN addresses text;
ALTER TABLE api_keys ADD COLUMN tags text;
CREATE INDEX api_keys_user ON api_keys (user_id);
CREATE INDEX api_keys_team ON api_keys (team_id);
CREATE INDEX api_keys_service_account ON api_keys (service_account_id);
CREATE INDEX org_memberships_user ON org_memberships (user_id);

CREATE TABLE team_memberships (
    team_id text NOT NULL,
    org_id text NOT NULL,
    user_id text NOT NULL,
    role text NOT NULL CHECK (role IN ('member', 'team_admin')),
    created_at_ms bigint NOT NULL,
    PRIMARY KEY (team_id, user_id),
    FOREIGN KEY (team_id, org_id) REFERENCES teams (id, org_id),
    FOREIGN KEY (org_id, user_id) REFERENCES org_memberships (org_id, user_id) ON DELETE CASCADE
);
CREATE INDEX team_memberships_user ON team_memberships (user_id, org_id);

-- What each version changed, so that a snapshot need not be built anew; the oldest rows are dropped.
CREATE TABLE changes (
    version bigint NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    PRIMARY KEY (version, kind, id)
);

-- Every entry's hash covers the one before, so that none can be altered or taken out unseen.
CREATE TABLE audit_log (
    seq bigint PRIMARY KEY,
    id text NOT NULL UNIQUE,
    at_ms bigint NOT NULL,
    org_id text,
    team_id text,
    actor_type text NOT NULL,
    actor_id text,
    actor_name text NOT NULL,
    actor_key_id text,
    on_behalf_of text,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text,
    status bigint NOT NULL,
    error_code text NOT NULL,
    address text NOT NULL,
    request_id text NOT NULL,
    diff text NOT NULL,
    hash text NOT NULL
);
CREATE INDEX audit_log_org ON audit_log (org_id, seq);
CREATE INDEX audit_log_at ON audit_log (at_ms);

-- The newest entry, and the newest of those that were dropped for their age.
CREATE TABLE audit_head (
    id bigint PRIMARY KEY CHECK (id = 1),
    seq bigint NOT NULL,
    hash text NOT NULL,
    dropped_seq bigint NOT NULL,
    dropped_hash text NOT NULL
);
INSERT INTO audit_head (id, seq, hash, dropped_seq, dropped_hash) VALUES (1, 0, '', 0, '');
