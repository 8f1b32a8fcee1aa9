-- Tags of a request: name:value, several with commas between.
ALTER TABLE usage_events ADD COLUMN tags TEXT NOT NULL DEFAULT '';

-- Events that are in no sum yet; each leaves in the transaction that adds it up.
CREATE TABLE usage_pending (
    day INTEGER NOT NULL,
    id TEXT NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (day, id)
) STRICT, WITHOUT ROWID;
INSERT INTO usage_pending (day, id) SELECT day, id FROM usage_events;
DROP TABLE usage_hourly;

-- What sums are told apart by; what a roll-up does not tell apart is '' (0 for the status).
CREATE TABLE usage_groups (
    id INTEGER PRIMARY KEY,
    rollup INTEGER NOT NULL,
    org_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    service_account_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    deployment TEXT NOT NULL,
    status INTEGER NOT NULL,
    kind TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    source TEXT NOT NULL,
    tag TEXT NOT NULL,
    UNIQUE (rollup, org_id, team_id, user_id, service_account_id, key_id, model, provider, deployment, status, kind, endpoint, source, tag)
) STRICT;

-- Sums of one group in one period: an hour (Unix milliseconds of its start), a day (YYYYMMDD) or a
-- month (YYYYMM), as the clocks of the organisation show them. Buckets of histograms are NULL instead of 0.
CREATE TABLE usage_sums (
    group_id INTEGER NOT NULL,
    period INTEGER NOT NULL,
    rollup INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
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
    speed_tokens INTEGER NOT NULL,
    speed_sum_ms INTEGER NOT NULL,
    latency_00 INTEGER, latency_01 INTEGER, latency_02 INTEGER, latency_03 INTEGER, latency_04 INTEGER,
    latency_05 INTEGER, latency_06 INTEGER, latency_07 INTEGER, latency_08 INTEGER, latency_09 INTEGER,
    latency_10 INTEGER, latency_11 INTEGER, latency_12 INTEGER, latency_13 INTEGER, latency_14 INTEGER,
    latency_15 INTEGER, latency_16 INTEGER, latency_17 INTEGER, ttft_00 INTEGER, ttft_01 INTEGER,
    ttft_02 INTEGER, ttft_03 INTEGER, ttft_04 INTEGER, ttft_05 INTEGER, ttft_06 INTEGER,
    ttft_07 INTEGER, ttft_08 INTEGER, ttft_09 INTEGER, ttft_10 INTEGER, ttft_11 INTEGER,
    ttft_12 INTEGER, ttft_13 INTEGER, speed_00 INTEGER, speed_01 INTEGER, speed_02 INTEGER,
    speed_03 INTEGER, speed_04 INTEGER, speed_05 INTEGER, speed_06 INTEGER, speed_07 INTEGER,
    speed_08 INTEGER, speed_09 INTEGER,
    PRIMARY KEY (group_id, period)
) STRICT, WITHOUT ROWID;

-- What limits count, by days in UTC.
CREATE TABLE usage_counted (
    day INTEGER NOT NULL,
    org_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    requests INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (day, org_id, team_id, key_id)
) STRICT, WITHOUT ROWID;

-- The tags of each day that are told apart; there is a cap on how many.
CREATE TABLE usage_tags (
    org_id TEXT NOT NULL,
    day INTEGER NOT NULL,
    tag TEXT NOT NULL,
    PRIMARY KEY (org_id, day, tag)
) STRICT, WITHOUT ROWID;

CREATE TABLE key_last_used (
    key_id TEXT PRIMARY KEY,
    last_used_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO key_last_used (key_id, last_used_ms)
    SELECT key_id, max(started_ms) FROM usage_events WHERE key_id <> '' GROUP BY key_id;
