-- One row per finished unit of work; no column may hold content.
CREATE TABLE usage_events (
    day INTEGER NOT NULL,
    id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    parent_id TEXT,
    started_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    org_id TEXT NOT NULL,
    team_id TEXT,
    user_id TEXT,
    service_account_id TEXT,
    key_id TEXT NOT NULL,
    key_type TEXT NOT NULL,
    model TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    deployment TEXT NOT NULL,
    provider TEXT NOT NULL,
    status INTEGER NOT NULL,
    error_code TEXT NOT NULL,
    stream INTEGER NOT NULL,
    source TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    audio_input_tokens INTEGER NOT NULL,
    audio_output_tokens INTEGER NOT NULL,
    cost_nano INTEGER,
    price_version TEXT NOT NULL,
    duration_ms INTEGER NOT NULL,
    ttft_ms INTEGER,
    PRIMARY KEY (day, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_events_key ON usage_events (key_id, started_ms);
CREATE INDEX usage_events_org ON usage_events (org_id, started_ms);
CREATE INDEX usage_events_request ON usage_events (request_id);

-- Sums per hour; '' stands for "none" in the key columns.
CREATE TABLE usage_hourly (
    hour_ms INTEGER NOT NULL,
    day INTEGER NOT NULL,
    org_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    service_account_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    deployment TEXT NOT NULL,
    status INTEGER NOT NULL,
    source TEXT NOT NULL,
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    audio_input_tokens INTEGER NOT NULL,
    audio_output_tokens INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    unpriced_requests INTEGER NOT NULL,
    duration_sum_ms INTEGER NOT NULL,
    ttft_sum_ms INTEGER NOT NULL,
    ttft_count INTEGER NOT NULL,
    PRIMARY KEY (hour_ms, org_id, team_id, user_id, service_account_id, key_id, kind, endpoint, model,
        provider, deployment, status, source)
) STRICT, WITHOUT ROWID;

CREATE TABLE journal_progress (
    segment TEXT PRIMARY KEY,
    end_offset INTEGER NOT NULL
) STRICT;
