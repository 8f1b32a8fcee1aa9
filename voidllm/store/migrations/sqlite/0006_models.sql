-- What stored models and their secrets are: a number that grows with each change of them, for whoever keeps a copy.
CREATE TABLE catalogue_version (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO catalogue_version (id, version) VALUES (1, 1);

-- api_key is sealed, here and below.
CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL,
    api_key TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1
) STRICT;

-- pricing: a JSON object of integers, nano-USD per million tokens.
CREATE TABLE models (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    pricing TEXT NOT NULL,
    max_context_tokens INTEGER NOT NULL,
    timeout_ms INTEGER NOT NULL,
    strategy TEXT NOT NULL,
    max_retries INTEGER NOT NULL,
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1
) STRICT;

-- Names (place 0) and aliases of models: nothing is called like something else.
CREATE TABLE model_names (
    name TEXT PRIMARY KEY,
    model_id TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    UNIQUE (model_id, place)
) STRICT;

CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    model_id TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    provider TEXT NOT NULL,
    base_url TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    credential_id TEXT REFERENCES credentials (id),
    api_key TEXT,
    weight INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    UNIQUE (model_id, name),
    CHECK (credential_id IS NULL OR api_key IS NULL)
) STRICT;
CREATE INDEX deployments_credential ON deployments (credential_id);

-- Which encryption keys each box knows, so that none seals with one that another cannot open.
CREATE TABLE encryption_boxes (
    box TEXT PRIMARY KEY,
    key_ids TEXT NOT NULL,
    seen_at_ms INTEGER NOT NULL
) STRICT;
