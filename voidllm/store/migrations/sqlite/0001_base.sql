-- A statement ends with a semicolon at the end of a line; no other line ends with one.
-- A file that has been released is never changed: its checksum is kept in every database.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE change_version (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO change_version (id, version) VALUES (1, 1);

CREATE TABLE organizations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    slug TEXT NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER
) STRICT;

CREATE TABLE teams (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER,
    UNIQUE (id, org_id),
    UNIQUE (org_id, slug)
) STRICT;

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    password_hash TEXT,
    is_system_admin INTEGER NOT NULL DEFAULT 0 CHECK (is_system_admin IN (0, 1)),
    created_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE deleted_at_ms IS NULL;

CREATE TABLE org_memberships (
    org_id TEXT NOT NULL REFERENCES organizations (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    role TEXT NOT NULL CHECK (role IN ('member', 'team_admin', 'org_admin')),
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (org_id, user_id)
) STRICT;

CREATE TABLE service_accounts (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organizations (id),
    team_id TEXT,
    name TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER,
    UNIQUE (id, org_id),
    FOREIGN KEY (team_id, org_id) REFERENCES teams (id, org_id)
) STRICT;

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),
    hint TEXT NOT NULL,
    key_type TEXT NOT NULL CHECK (key_type IN ('user_key', 'team_key', 'sa_key', 'session_key')),
    name TEXT NOT NULL,
    org_id TEXT NOT NULL REFERENCES organizations (id),
    team_id TEXT,
    user_id TEXT REFERENCES users (id),
    service_account_id TEXT,
    scopes TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    revoked_at_ms INTEGER,
    FOREIGN KEY (team_id, org_id) REFERENCES teams (id, org_id),
    FOREIGN KEY (service_account_id, org_id) REFERENCES service_accounts (id, org_id),
    CHECK (key_type NOT IN ('user_key', 'session_key') OR user_id IS NOT NULL),
    CHECK (key_type <> 'team_key' OR team_id IS NOT NULL),
    CHECK (key_type <> 'sa_key' OR service_account_id IS NOT NULL)
) STRICT;
CREATE INDEX api_keys_org ON api_keys (org_id, id);

CREATE TABLE scope_limits (
    scope_kind TEXT NOT NULL CHECK (scope_kind IN ('system', 'org', 'team', 'key')),
    scope_id TEXT NOT NULL,
    requests_per_minute INTEGER NOT NULL CHECK (requests_per_minute >= 0),
    requests_per_day INTEGER NOT NULL CHECK (requests_per_day >= 0),
    tokens_per_minute INTEGER NOT NULL CHECK (tokens_per_minute >= 0),
    tokens_per_day INTEGER NOT NULL CHECK (tokens_per_day >= 0),
    tokens_per_month INTEGER NOT NULL CHECK (tokens_per_month >= 0),
    PRIMARY KEY (scope_kind, scope_id)
) STRICT;

CREATE TABLE model_aliases (
    scope_kind TEXT NOT NULL CHECK (scope_kind IN ('org', 'team')),
    scope_id TEXT NOT NULL,
    alias TEXT NOT NULL,
    model TEXT NOT NULL,
    PRIMARY KEY (scope_kind, scope_id, alias)
) STRICT;

-- A row here restricts its scope to the models below, of which there may be none.
CREATE TABLE access_lists (
    scope_kind TEXT NOT NULL CHECK (scope_kind IN ('org', 'team', 'key')),
    scope_id TEXT NOT NULL,
    PRIMARY KEY (scope_kind, scope_id)
) STRICT;

CREATE TABLE access_models (
    scope_kind TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    model TEXT NOT NULL,
    PRIMARY KEY (scope_kind, scope_id, model),
    FOREIGN KEY (scope_kind, scope_id) REFERENCES access_lists (scope_kind, scope_id) ON DELETE CASCADE
) STRICT;
