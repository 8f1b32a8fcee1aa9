-- Tags of a request: name:value, several with commas between.
ALTER TABLE usage_events ADD COLUMN tags text NOT NULL DEFAULT '';

-- Events that are in no sum yet; each leaves in the transaction that adds it up.
CREATE TABLE usage_pending (
    day integer NOT NULL,
    id text NOT NULL,
    taken smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (day, id)
);
INSERT INTO usage_pending (day, id) SELECT day, id FROM usage_events;
DROP TABLE usage_hourly;

-- What sums are told apart by; what a roll-up does not tell apart is '' (0 for the status).
CREATE TABLE usage_groups (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rollup smallint NOT NULL,
    org_id text NOT NULL,
    team_id text NOT NULL,
    user_id text NOT NULL,
    service_account_id text NOT NULL,
    key_id text NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    deployment text NOT NULL,
    status bigint NOT NULL,
    kind text NOT NULL,
    endpoint text NOT NULL,
    source text NOT NULL,
    tag text NOT NULL,
    UNIQUE (rollup, org_id, team_id, user_id, service_account_id, key_id, model, provider, deployment, status, kind, endpoint, source, tag)
);

-- Sums of one group in one period: an hour (Unix milliseconds of its start), a day (YYYYMMDD) or a
-- month (YYYYMM), as the clocks of the organisation show them. Buckets of histograms are NULL instead of 0.
CREATE TABLE usage_sums (
    group_id bigint NOT NULL,
    period bigint NOT NULL,
    rollup smallint NOT NULL,
    requests bigint NOT NULL,
    errors bigint NOT NULL,
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
    speed_tokens bigint NOT NULL,
    speed_sum_ms bigint NOT NULL,
    latency_00 bigint, latency_01 bigint, latency_02 bigint, latency_03 bigint, latency_04 bigint,
    latency_05 bigint, latency_06 bigint, latency_07 bigint, latency_08 bigint, latency_09 bigint,
    latency_10 bigint, latency_11 bigint, latency_12 bigint, latency_13 bigint, latency_14 bigint,
    latency_15 bigint, latency_16 bigint, latency_17 bigint, ttft_00 bigint, ttft_01 bigint,
    ttft_02 bigint, ttft_03 bigint, ttft_04 bigint, ttft_05 bigint, ttft_06 bigint, ttft_07 bigint,
    ttft_08 bigint, ttft_09 bigint, ttft_10 bigint, ttft_11 bigint, ttft_12 bigint, ttft_13 bigint,
    speed_00 bigint, speed_01 bigint, speed_02 bigint, speed_03 bigint, speed_04 bigint,
    speed_05 bigint, speed_06 bigint, speed_07 bigint, speed_08 bigint, speed_09 bigint,
    PRIMARY KEY (group_id, period)
) WITH (fillfactor = 80);
-- SQLite goes from group to group; here the groups of some periods are found at once.
CREATE INDEX usage_sums_period ON usage_sums (rollup, period);

-- What limits count, by days in UTC.
CREATE TABLE usage_counted (
    day integer NOT NULL,
    org_id text NOT NULL,
    team_id text NOT NULL,
    key_id text NOT NULL,
    requests bigint NOT NULL,
    tokens bigint NOT NULL,
    PRIMARY KEY (day, org_id, team_id, key_id)
);

-- The tags of each day that are told apart; there is a cap on how many.
CREATE TABLE usage_tags (
    org_id text NOT NULL,
    day integer NOT NULL,
    tag text NOT NULL,
    PRIMARY KEY (org_id, day, tag)
);

CREATE TABLE key_last_used (
    key_id text PRIMARY KEY,
    last_used_ms bigint NOT NULL
);
INSERT INTO key_last_used (key_id, last_used_ms)
    SELECT key_id, max(started_ms) FROM usage_events WHERE key_id <> '' GROUP BY key_id;
