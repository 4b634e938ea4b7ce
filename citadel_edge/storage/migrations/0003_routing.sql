-- What operators set in a running fleet, what was decided for requests, and what users thought of the answers.

-- One row an upstream or breaker that was ever touched by the API; what the configuration says stands without a row.
-- Rows of upstreams that left the configuration stay: they count again should the upstream come back.
-- `set_by` and `set_at` tell who and when. An upstream: null is the configuration's own weight or state. A breaker: it was
-- tripped, or reset.
CREATE TABLE fleet_settings (
    kind        text NOT NULL CHECK (kind IN ('upstream', 'breaker')),
    id          text COLLATE "C" NOT NULL CHECK (id <> ''),
    weight      double precision CHECK (weight > 0 AND weight < 'infinity'),
    state       text CHECK (state IN ('active', 'draining', 'disabled')),
    tripped     boolean NOT NULL DEFAULT false,
    reason      text,
    version     bigint NOT NULL DEFAULT 0,
    set_by      text NOT NULL,
    set_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, id)
);

-- Whoever changes a setting, by whatever way, every instance hears of it.
CREATE FUNCTION tell_of_fleet_setting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('citadel_fleet', 'changed ' || NEW.kind);
    RETURN NULL;
END $$;
CREATE TRIGGER fleet_settings_tell AFTER INSERT OR UPDATE ON fleet_settings
    FOR EACH ROW EXECUTE FUNCTION tell_of_fleet_setting();

-- Decisions, as they are shown. Ids (`dec_` and a UUIDv7) grow with time: the primary key is the order of a list, and
-- old rows go from its left edge. `upstreams` are those that were called.
CREATE TABLE decisions (
    id          text COLLATE "C" PRIMARY KEY,
    user_id     text COLLATE "C" NOT NULL,
    model       text NOT NULL,
    asked       text NOT NULL,
    upstreams   text[] NOT NULL,
    outcome     text NOT NULL,
    shown       jsonb NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE INDEX decisions_by_user ON decisions (user_id, id);
CREATE INDEX decisions_by_model ON decisions (model, id);
CREATE INDEX decisions_by_asked ON decisions (asked, id);
CREATE INDEX decisions_by_outcome ON decisions (outcome, id);
CREATE INDEX decisions_by_upstream ON decisions USING gin (upstreams);

-- What a user thought of an answer: 0 is useless, 1 is perfect. The last word of a user on a decision counts.
-- The model and the weights of its task are kept, so that what was learned can be learned again.
CREATE TABLE feedback (
    decision_id text COLLATE "C" NOT NULL,
    user_id     text COLLATE "C" NOT NULL,
    model       text NOT NULL,
    tasks       jsonb NOT NULL,
    score       double precision NOT NULL CHECK (score BETWEEN 0 AND 1),
    comment     text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (decision_id, user_id)
);
CREATE INDEX feedback_by_time ON feedback (updated_at);
