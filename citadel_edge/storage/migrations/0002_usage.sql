-- The usage ledger: one row a finished request, one row a user, limit and minute of denials.
--
-- Rows outlive the users, keys and tiers they name: no foreign keys, and `tier` is its name at that moment.
-- `event_id` is a UUIDv7: it grows with time, so the primary key's inserts stay at the right edge of the tree.
CREATE TABLE usage_events (
    event_id        uuid PRIMARY KEY,
    request_id      text NOT NULL,
    organisation_id text NOT NULL,
    user_id         text NOT NULL,
    key_id          text NOT NULL,
    tier            text NOT NULL,
    model           text NOT NULL,
    upstream        text,
    endpoint        text NOT NULL,
    listener        text NOT NULL,
    decision_id     text,
    attempts        integer NOT NULL CHECK (attempts >= 0),
    tokens_in       bigint NOT NULL CHECK (tokens_in >= 0),
    tokens_out      bigint NOT NULL CHECK (tokens_out >= 0),
    -- Twelve decimals hold tokens times a price of up to six decimals per million tokens without rounding.
    cost_usd        numeric(20, 12) NOT NULL CHECK (cost_usd >= 0 AND cost_usd <> 'NaN'),
    outcome         text NOT NULL CHECK (outcome IN ('done', 'error', 'truncated', 'cancelled', 'denied')),
    ttft_ms         double precision,
    duration_ms     double precision NOT NULL,
    count           bigint NOT NULL CHECK (count >= 1),
    created_at      timestamptz NOT NULL
);

CREATE INDEX usage_events_by_user ON usage_events (user_id, created_at);
CREATE INDEX usage_events_by_organisation ON usage_events (organisation_id, created_at);
CREATE INDEX usage_events_by_request ON usage_events (request_id);
CREATE INDEX usage_events_by_time ON usage_events USING brin (created_at) WITH (autosummarize = on);

-- Which contributions to folded rows (denials) are already in their counts. A contribution is sent until it is
-- acknowledged; this table makes the second arrival harmless. Rows past the replay horizon are removed by the carrier.
CREATE TABLE usage_folds (
    fold_id    uuid PRIMARY KEY,
    carried_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX usage_folds_by_time ON usage_folds USING brin (carried_at);
