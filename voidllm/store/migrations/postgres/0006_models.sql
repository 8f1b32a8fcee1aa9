-- What stored models and their secrets are: a number that grows with each change of them, for whoever keeps a copy.
CREATE TABLE catalogue_version (
    id bigint PRIMARY KEY CHECK (id = 1),
    version bigint NOT NULL
);
INSERT INTO catalogue_version (id, version) VALUES (1, 1);

-- api_key is sealed, here and below.
CREATE TABLE credentials (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    provider text NOT NULL,
    api_key text NOT NULL,
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    revision bigint NOT NULL DEFAULT 1
);

-- pricing: a JSON object of integers, nano-USD per million tokens.
CREATE TABLE models (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    type text NOT NULL,
    pricing text NOT NULL,
    max_context_tokens bigint NOT NULL,
    timeout_ms bigint NOT NULL,
    strategy text NOT NULL,
    max_retries bigint NOT NULL,
    is_active bigint NOT NULL CHECK (is_active IN (0, 1)),
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    revision bigint NOT NULL DEFAULT 1
);

-- Names (place 0) and aliases of models: nothing is called like something else.
CREATE TABLE model_names (
    name text PRIMARY KEY,
    model_id text NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    place bigint NOT NULL,
    UNIQUE (model_id, place)
);

CREATE TABLE deployments (
    id text PRIMARY KEY,
    model_id text NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    name text NOT NULL,
    provider text NOT NULL,
    base_url text NOT NULL,
    upstream_model text NOT NULL,
    credential_id text REFERENCES credentials (id),
    api_key text,
    weight bigint NOT NULL,
    priority bigint NOT NULL,
    is_active bigint NOT NULL CHECK (is_active IN (0, 1)),
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    UNIQUE (model_id, name),
    CHECK (credential_id IS NULL OR api_key IS NULL)
);
CREATE INDEX deployments_credential ON deployments (credential_id);

-- Which encryption keys each box knows, so that none seals with one that another cannot open.
CREATE TABLE encryption_boxes (
    box text PRIMARY KEY,
    key_ids text NOT NULL,
    seen_at_ms bigint NOT NULL
);
