-- One row per finished unit of work; no column may hold content. Reports read the sums only.
CREATE TABLE usage_events (
    day integer NOT NULL,
    id text NOT NULL,
    request_id text NOT NULL,
    parent_id text,
    started_ms bigint NOT NULL,
    kind text NOT NULL,
    endpoint text NOT NULL,
    org_id text NOT NULL,
    team_id text,
    user_id text,
    service_account_id text,
    key_id text NOT NULL,
    key_type text NOT NULL,
    model text NOT NULL,
    requested_model text NOT NULL,
    deployment text NOT NULL,
    provider text NOT NULL,
    status bigint NOT NULL,
    error_code text NOT NULL,
    stream bigint NOT NULL,
    source text NOT NULL,
    input_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    audio_input_tokens bigint NOT NULL,
    audio_output_tokens bigint NOT NULL,
    cost_nano bigint,
    price_version text NOT NULL,
    duration_ms bigint NOT NULL,
    ttft_ms bigint,
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
-- Days get their own partition before they are written; this one only catches what must not be lost.
CREATE TABLE usage_events_default PARTITION OF usage_events DEFAULT;

-- Sums per hour; '' stands for "none" in the key columns.
CREATE TABLE usage_hourly (
    hour_ms bigint NOT NULL,
    day integer NOT NULL,
    org_id text NOT NULL,
    team_id text NOT NULL,
    user_id text NOT NULL,
    service_account_id text NOT NULL,
    key_id text NOT NULL,
    kind text NOT NULL,
    endpoint text NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    deployment text NOT NULL,
    status bigint NOT NULL,
    source text NOT NULL,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    audio_input_tokens bigint NOT NULL,
    audio_output_tokens bigint NOT NULL,
    cost_nano bigint NOT NULL,
    unpriced_requests bigint NOT NULL,
    duration_sum_ms bigint NOT NULL,
    ttft_sum_ms bigint NOT NULL,
    ttft_count bigint NOT NULL,
    PRIMARY KEY (hour_ms, org_id, team_id, user_id, service_account_id, key_id, kind, endpoint, model,
        provider, deployment, status, source)
);

CREATE TABLE journal_progress (
    segment text PRIMARY KEY,
    end_offset bigint NOT NULL
);
