-- A statement ends with a semicolon at the end of a line; no other line ends with one.
-- A file that has been released is never changed: its checksum is kept in every database.
CREATE TABLE meta (
    name text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE change_version (
    id bigint PRIMARY KEY CHECK (id = 1),
    version bigint NOT NULL
);
INSERT INTO change_version (id, version) VALUES (1, 1);

CREATE TABLE organizations (
    id text PRIMARY KEY,
    name text NOT NULL,
    slug text NOT NULL UNIQUE,
    created_at_ms bigint NOT NULL,
    deleted_at_ms bigint
);

CREATE TABLE teams (
    id text PRIMARY KEY,
    org_id text NOT NULL REFERENCES organizations (id),
    name text NOT NULL,
    slug text NOT NULL,
    created_at_ms bigint NOT NULL,
    deleted_at_ms bigint,
    UNIQUE (id, org_id),
    UNIQUE (org_id, slug)
);

CREATE TABLE users (
    id text PRIMARY KEY,
    email text NOT NULL,
    name text NOT NULL,
    password_hash text,
    is_system_admin bigint NOT NULL DEFAULT 0 CHECK (is_system_admin IN (0, 1)),
    created_at_ms bigint NOT NULL,
    deleted_at_ms bigint
);
CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE deleted_at_ms IS NULL;

CREATE TABLE org_memberships (
    org_id text NOT NULL REFERENCES organizations (id),
    user_id text NOT NULL REFERENCES users (id),
    role text NOT NULL CHECK (role IN ('member', 'team_admin', 'org_admin')),
    created_at_ms bigint NOT NULL,
    PRIMARY KEY (org_id, user_id)
);

CREATE TABLE service_accounts (
    id text PRIMARY KEY,
    org_id text NOT NULL REFERENCES organizations (id),
    team_id text,
    name text NOT NULL,
    created_at_ms bigint NOT NULL,
    deleted_at_ms bigint,
    UNIQUE (id, org_id),
    FOREIGN KEY (team_id, org_id) REFERENCES teams (id, org_id)
);

CREATE TABLE api_keys (
    id text PRIMARY KEY,
    hash text NOT NULL UNIQUE CHECK (length(hash) = 64),
    hint text NOT NULL,
    key_type text NOT NULL CHECK (key_type IN ('user_key', 'team_key', 'sa_key', 'session_key')),
    name text NOT NULL,
    org_id text NOT NULL REFERENCES organizations (id),
    team_id text,
    user_id text REFERENCES users (id),
    service_account_id text,
    scopes text NOT NULL,
    created_at_ms bigint NOT NULL,
    expires_at_ms bigint,
    revoked_at_ms bigint,
    FOREIGN KEY (team_id, org_id) REFERENCES teams (id, org_id),
    FOREIGN KEY (service_account_id, org_id) REFERENCES service_accounts (id, org_id),
    CHECK (key_type NOT IN ('user_key', 'session_key') OR user_id IS NOT NULL),
    CHECK (key_type <> 'team_key' OR team_id IS NOT NULL),
    CHECK (key_type <> 'sa_key' OR service_account_id IS NOT NULL)
);
CREATE INDEX api_keys_org ON api_keys (org_id, id);

CREATE TABLE scope_limits (
    scope_kind text NOT NULL CHECK (scope_kind IN ('system', 'org', 'team', 'key')),
    scope_id text NOT NULL,
    requests_per_minute bigint NOT NULL CHECK (requests_per_minute >= 0),
    requests_per_day bigint NOT NULL CHECK (requests_per_day >= 0),
    tokens_per_minute bigint NOT NULL CHECK (tokens_per_minute >= 0),
    tokens_per_day bigint NOT NULL CHECK (tokens_per_day >= 0),
    tokens_per_month bigint NOT NULL CHECK (tokens_per_month >= 0),
    PRIMARY KEY (scope_kind, scope_id)
);

CREATE TABLE model_aliases (
    scope_kind text NOT NULL CHECK (scope_kind IN ('org', 'team')),
    scope_id text NOT NULL,
    alias text NOT NULL,
    model text NOT NULL,
    PRIMARY KEY (scope_kind, scope_id, alias)
);

-- A row here restricts its scope to the models below, of which there may be none.
CREATE TABLE access_lists (
    scope_kind text NOT NULL CHECK (scope_kind IN ('org', 'team', 'key')),
    scope_id text NOT NULL,
    PRIMARY KEY (scope_kind, scope_id)
);

CREATE TABLE access_models (
    scope_kind text NOT NULL,
    scope_id text NOT NULL,
    model text NOT NULL,
    PRIMARY KEY (scope_kind, scope_id, model),
    FOREIGN KEY (scope_kind, scope_id) REFERENCES access_lists (scope_kind, scope_id) ON DELETE CASCADE
);
