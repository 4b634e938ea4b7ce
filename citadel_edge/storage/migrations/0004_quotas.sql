-- What users may use beyond their tier: overrides, top-ups, limits of one model or endpoint, limits that an
-- organisation's users share. And creates that may be sent twice.
--
-- A sheet of limits is an object {"tokens_per_day": 5000, "usd_per_month": null, …, "by_model": {"<model>": {…}},
-- "by_endpoint": {"<endpoint>": {…}}}: an absent limit says nothing, null is no limit, 0 allows nothing.

-- Limits are told apart up to 10^10 (dollars: 9 million): what is larger, was none.
WITH too_large AS (
    SELECT * FROM tiers
    WHERE greatest(requests_per_minute, tokens_per_minute, concurrent, tokens_per_day, tokens_per_month) > 10000000000
       OR usd_per_month > 9000000
), mended AS (
    UPDATE tiers AS t SET
        requests_per_minute =
            CASE WHEN t.requests_per_minute > 10000000000 THEN 10000000000 ELSE t.requests_per_minute END,
        tokens_per_minute = CASE WHEN t.tokens_per_minute > 10000000000 THEN 10000000000 ELSE t.tokens_per_minute END,
        concurrent = CASE WHEN t.concurrent > 10000000000 THEN 10000000000 ELSE t.concurrent END,
        tokens_per_day = CASE WHEN t.tokens_per_day > 10000000000 THEN 10000000000 ELSE t.tokens_per_day END,
        tokens_per_month = CASE WHEN t.tokens_per_month > 10000000000 THEN 10000000000 ELSE t.tokens_per_month END,
        usd_per_month = CASE WHEN t.usd_per_month > 9000000 THEN 9000000 ELSE t.usd_per_month END,
        version = t.version + 1,
        updated_at = now()
    FROM too_large WHERE t.name = too_large.name
    RETURNING t.name, to_jsonb(too_large) AS before, to_jsonb(t) AS after
)
INSERT INTO audit (who, action, subject, before, after)
SELECT 'migration', 'update_tier', name, before, after FROM mended;

ALTER TABLE tiers
    ADD COLUMN by_model jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(by_model) = 'object'),
    ADD COLUMN by_endpoint jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(by_endpoint) = 'object'),
    ADD CONSTRAINT tiers_limits CHECK (
        coalesce(greatest(requests_per_minute, tokens_per_minute, concurrent, tokens_per_day, tokens_per_month), 0)
            <= 10000000000
        AND coalesce(usd_per_month, 0) <= 9000000
    );

-- What all users of an organisation share; a sheet with "burst" besides.
ALTER TABLE organisations
    ADD COLUMN limits jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(limits) = 'object');

-- A user without a row has no overrides.
CREATE TABLE quotas (
    user_id     text COLLATE "C" PRIMARY KEY CONSTRAINT quotas_user REFERENCES users (id) ON DELETE CASCADE,
    overrides   jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(overrides) = 'object'),
    version     bigint NOT NULL DEFAULT 1,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- Tokens or dollars on top of the periods' quotas, until they are used up or their time is over. One that was taken
-- back stays as a row: what of it had been used before is balanced by it.
CREATE TABLE top_ups (
    id            text COLLATE "C" PRIMARY KEY,
    user_id       text COLLATE "C" NOT NULL CONSTRAINT top_ups_user REFERENCES users (id) ON DELETE CASCADE,
    tokens        bigint CHECK (tokens BETWEEN 1 AND 10000000000),
    usd           numeric(16, 9) CHECK (usd > 0 AND usd <= 9000000),
    reason        text NOT NULL CHECK (reason <> ''),
    expires_at    timestamptz,
    withdrawn_at  timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text NOT NULL,
    CONSTRAINT top_ups_of_one_kind CHECK (num_nonnulls(tokens, usd) = 1)
);
CREATE INDEX top_ups_by_user ON top_ups (user_id, id);

-- Whoever changes what a user may use, by whatever way, every instance hears of it.
CREATE FUNCTION tell_of_quota() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('citadel_accounts', 'changed user ' || coalesce(NEW.user_id, OLD.user_id));
    RETURN NULL;
END $$;
CREATE TRIGGER quotas_tell AFTER INSERT OR UPDATE OR DELETE ON quotas
    FOR EACH ROW EXECUTE FUNCTION tell_of_quota();
CREATE TRIGGER top_ups_tell AFTER INSERT OR UPDATE OR DELETE ON top_ups
    FOR EACH ROW EXECUTE FUNCTION tell_of_quota();

-- Creates that named themselves (`Idempotency-Key`), and what was answered, for a day. `id` is a hash of caller, path
-- and key, `body_hash` one of the body. A row is written in the transaction of what it made; no answer holds a secret.
CREATE TABLE idempotency (
    id          bytea PRIMARY KEY CHECK (octet_length(id) = 32),
    body_hash   bytea NOT NULL CHECK (octet_length(body_hash) = 32),
    status      integer,
    version     bigint,
    answer      text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_by_time ON idempotency (created_at);

CREATE INDEX audit_by_who ON audit (who, id);
CREATE INDEX audit_by_action ON audit (action, id);
CREATE INDEX audit_by_time ON audit USING brin (at);
