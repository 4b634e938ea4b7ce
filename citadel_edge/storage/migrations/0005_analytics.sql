-- Usage, summed ahead: hours of UTC, days and months of some time zones, for several sets of dimensions.
--
-- Every row of `usage_events` is either named in `usage_unrolled` or counted in the rollups, in each of them once: the
-- row and its name are written by one transaction, and taken over by one. So any one statement that reads both is exact.

-- Rows that the rollups do not hold yet, some at once: `counts` is what each adds to its row's count. Of rows that are
-- not `fresh` it is all that they add.
CREATE TABLE usage_unrolled (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    events     uuid[] NOT NULL,
    counts     bigint[] NOT NULL,
    size       integer NOT NULL,
    fresh      boolean NOT NULL,
    queued_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE usage_unrolled ALTER COLUMN events SET STORAGE EXTERNAL;

CREATE FUNCTION usage_enqueue_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_unrolled (events, counts, size, fresh)
    SELECT array_agg(event_id), array_agg(count), count(*), true
    FROM (SELECT event_id, count, (row_number() OVER () - 1) / 1000 AS part FROM fresh) AS numbered
    GROUP BY part;
    RETURN NULL;
END $$;

-- Nothing of a row changes but its count.
CREATE FUNCTION usage_enqueue_recounted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_unrolled (events, counts, size, fresh)
    SELECT array_agg(event_id), array_agg(added), count(*), false
    FROM (
        SELECT event_id, fresh.count - stale.count AS added, (row_number() OVER () - 1) / 1000 AS part
        FROM fresh JOIN stale USING (event_id) WHERE fresh.count <> stale.count
    ) AS numbered
    GROUP BY part;
    RETURN NULL;
END $$;

CREATE TRIGGER usage_events_enqueue_new AFTER INSERT ON usage_events
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION usage_enqueue_new();
CREATE TRIGGER usage_events_enqueue_recounted AFTER UPDATE ON usage_events
    REFERENCING OLD TABLE AS stale NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION usage_enqueue_recounted();

INSERT INTO usage_unrolled (events, counts, size, fresh)
SELECT array_agg(event_id), array_agg(count), count(*), true
FROM (SELECT event_id, count, (row_number() OVER (ORDER BY event_id) - 1) / 1000 AS part FROM usage_events) AS numbered
GROUP BY part ORDER BY part;

-- Time zones whose days and months are kept. Blocks are there from `since` on, or from the beginning if it is complete;
-- neither is ever taken back. Zones of organisations that come later are built from the ledger.
CREATE TABLE usage_calendars (
    id        smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    zone      text NOT NULL CONSTRAINT usage_calendars_zone UNIQUE,
    since     timestamptz,
    complete  boolean NOT NULL DEFAULT false
);
INSERT INTO usage_calendars (zone, complete)
SELECT zone, true FROM (
    SELECT 'UTC' AS zone, true AS always, 0 AS users
    UNION ALL SELECT time_zone, false, count(*) FROM organisations WHERE time_zone <> 'UTC' GROUP BY time_zone
) AS wanted ORDER BY always DESC, users DESC, zone LIMIT 4;

-- What sums are told apart by. A dimension that a grain does not tell apart is empty, as is an absent upstream.
--
-- Grains: 1 model; 2 tier, model; 3 model, upstream; 4 model, endpoint, listener, outcome; 5 tier, model, upstream,
-- endpoint, listener, outcome; 6 organisation, tier, model; 7 organisation, user, tier, model; 8 organisation, tier,
-- model, endpoint, outcome; 0 all of these, which has no sums: it names the keys that a row counts for.
-- `digest` is of grain and values: an index of the values themselves would refuse long ones.
CREATE TABLE usage_keys (
    id               integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    grain            smallint NOT NULL,
    organisation_id  text COLLATE "C" NOT NULL,
    user_id          text COLLATE "C" NOT NULL,
    tier             text COLLATE "C" NOT NULL,
    model            text COLLATE "C" NOT NULL,
    upstream         text COLLATE "C" NOT NULL,
    endpoint         text COLLATE "C" NOT NULL,
    listener         text COLLATE "C" NOT NULL,
    outcome          text COLLATE "C" NOT NULL,
    digest           bytea NOT NULL CONSTRAINT usage_keys_digest UNIQUE,
    model_key        integer,
    tier_key         integer,
    upstream_key     integer,
    endpoint_key     integer,
    fleet_key        integer,
    organisation_key integer,
    user_key         integer,
    traffic_key      integer
);
CREATE INDEX usage_keys_by_organisation ON usage_keys (grain, organisation_id, user_id);

CREATE FUNCTION usage_digest(VARIADIC parts text[]) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(convert_to(parts::text, 'UTF8'));

-- A duration as one digit group of a long number: group n (twelve digits) counts durations up to 0.1 ms * 1.04 ^ n.
-- The sum of such numbers is the histogram of all their durations. From 0.1 ms to an hour; the rest is at the ends.
CREATE FUNCTION usage_lane(ms double precision, count bigint) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (count::text || 'e'
        || (12 * ceil(ln(least(greatest(ms, 0.1), 3600000) / 0.1) / ln(1.04::double precision))::integer)::text)::numeric;

-- Sums of long numbers of few digits. The built-in sum() makes room for all digits from the first to the units, in every
-- group; it is the better one for many single durations in few groups.
CREATE AGGREGATE usage_merge(numeric) (SFUNC = numeric_add, STYPE = numeric, INITCOND = '0', PARALLEL = SAFE,
    COMBINEFUNC = numeric_add);

-- The sums of one key in the block that begins at `start`. `series` is ten times the grain, and 1 for hours of UTC
-- (calendar 0), 2 for days and 3 for months of the calendar's zone. Tokens are numbers without a bound: sums of whatever
-- model servers claim do not overflow.
CREATE TABLE usage_rollups (
    series      smallint NOT NULL,
    calendar    smallint NOT NULL,
    start       timestamptz NOT NULL,
    key_id      integer NOT NULL,
    requests    bigint NOT NULL,
    errors      bigint NOT NULL,
    denied      bigint NOT NULL,
    tokens_in   numeric NOT NULL,
    tokens_out  numeric NOT NULL,
    cost_usd    numeric NOT NULL,
    PRIMARY KEY (series, calendar, start, key_id)
) PARTITION BY LIST (series);
CREATE TABLE usage_rollups_model_hours PARTITION OF usage_rollups FOR VALUES IN (11) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_model_days PARTITION OF usage_rollups FOR VALUES IN (12) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_model_months PARTITION OF usage_rollups FOR VALUES IN (13) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_tier_hours PARTITION OF usage_rollups FOR VALUES IN (21) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_tier_days PARTITION OF usage_rollups FOR VALUES IN (22) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_tier_months PARTITION OF usage_rollups FOR VALUES IN (23) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_upstream_hours PARTITION OF usage_rollups FOR VALUES IN (31) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_upstream_days PARTITION OF usage_rollups FOR VALUES IN (32) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_upstream_months PARTITION OF usage_rollups FOR VALUES IN (33) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_endpoint_hours PARTITION OF usage_rollups FOR VALUES IN (41) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_endpoint_days PARTITION OF usage_rollups FOR VALUES IN (42) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_endpoint_months PARTITION OF usage_rollups FOR VALUES IN (43) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_fleet_days PARTITION OF usage_rollups FOR VALUES IN (52) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_fleet_months PARTITION OF usage_rollups FOR VALUES IN (53) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_organisation_days PARTITION OF usage_rollups FOR VALUES IN (62) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_organisation_months PARTITION OF usage_rollups FOR VALUES IN (63) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_user_days PARTITION OF usage_rollups FOR VALUES IN (72) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_user_months PARTITION OF usage_rollups FOR VALUES IN (73) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_traffic_days PARTITION OF usage_rollups FOR VALUES IN (82) WITH (fillfactor = 80);
CREATE TABLE usage_rollups_traffic_months PARTITION OF usage_rollups FOR VALUES IN (83) WITH (fillfactor = 80);

-- The durations of the same, but for denials: a table of their own, for they are five times as long as all sums, and
-- most questions are not about them.
CREATE TABLE usage_histograms (
    series      smallint NOT NULL,
    calendar    smallint NOT NULL,
    start       timestamptz NOT NULL,
    key_id      integer NOT NULL,
    latency     numeric NOT NULL,
    ttft        numeric NOT NULL,
    PRIMARY KEY (series, calendar, start, key_id)
) PARTITION BY LIST (series);
CREATE TABLE usage_histograms_model_hours PARTITION OF usage_histograms FOR VALUES IN (11) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_model_days PARTITION OF usage_histograms FOR VALUES IN (12) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_model_months PARTITION OF usage_histograms FOR VALUES IN (13) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_tier_hours PARTITION OF usage_histograms FOR VALUES IN (21) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_tier_days PARTITION OF usage_histograms FOR VALUES IN (22) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_tier_months PARTITION OF usage_histograms FOR VALUES IN (23) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_upstream_hours PARTITION OF usage_histograms FOR VALUES IN (31) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_upstream_days PARTITION OF usage_histograms FOR VALUES IN (32) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_upstream_months PARTITION OF usage_histograms FOR VALUES IN (33) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_endpoint_hours PARTITION OF usage_histograms FOR VALUES IN (41) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_endpoint_days PARTITION OF usage_histograms FOR VALUES IN (42) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_endpoint_months PARTITION OF usage_histograms FOR VALUES IN (43) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_fleet_days PARTITION OF usage_histograms FOR VALUES IN (52) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_fleet_months PARTITION OF usage_histograms FOR VALUES IN (53) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_organisation_days PARTITION OF usage_histograms FOR VALUES IN (62) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_organisation_months PARTITION OF usage_histograms FOR VALUES IN (63) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_user_days PARTITION OF usage_histograms FOR VALUES IN (72) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_user_months PARTITION OF usage_histograms FOR VALUES IN (73) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_traffic_days PARTITION OF usage_histograms FOR VALUES IN (82) WITH (fillfactor = 80);
CREATE TABLE usage_histograms_traffic_months PARTITION OF usage_histograms FOR VALUES IN (83) WITH (fillfactor = 80);

-- For one organisation's or user's days among all others'.
CREATE INDEX usage_rollups_organisation_days_by_key ON usage_rollups_organisation_days (key_id, calendar, start);
CREATE INDEX usage_rollups_user_days_by_key ON usage_rollups_user_days (key_id, calendar, start);
CREATE INDEX usage_rollups_traffic_days_by_key ON usage_rollups_traffic_days (key_id, calendar, start);
CREATE INDEX usage_histograms_organisation_days_by_key ON usage_histograms_organisation_days (key_id, calendar, start);
CREATE INDEX usage_histograms_user_days_by_key ON usage_histograms_user_days (key_id, calendar, start);
CREATE INDEX usage_histograms_traffic_days_by_key ON usage_histograms_traffic_days (key_id, calendar, start);
