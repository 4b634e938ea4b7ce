-- Organisations, tiers, users, keys, and the trail of who changed what.
-- Ids compare byte by byte (COLLATE "C"), so that they sort by the time they were made.

CREATE TABLE organisations (
    id          text COLLATE "C" PRIMARY KEY,
    name        text NOT NULL CHECK (name <> ''),
    time_zone   text NOT NULL DEFAULT 'UTC',
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT organisations_name UNIQUE (name)
);

-- An absent limit is no limit; 0 allows nothing.
CREATE TABLE tiers (
    name                    text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
    requests_per_minute     bigint CHECK (requests_per_minute >= 0),
    tokens_per_minute       bigint CHECK (tokens_per_minute >= 0),
    concurrent              bigint CHECK (concurrent >= 0),
    tokens_per_day          bigint CHECK (tokens_per_day >= 0),
    tokens_per_month        bigint CHECK (tokens_per_month >= 0),
    usd_per_month           double precision CHECK (usd_per_month >= 0),
    burst                   double precision NOT NULL DEFAULT 0.2 CHECK (burst BETWEEN 0 AND 1),
    priority                integer NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 100),
    models                  text[] NOT NULL DEFAULT '{*}',
    requests_on_redis_down  text NOT NULL DEFAULT 'open' CHECK (requests_on_redis_down IN ('open', 'closed')),
    spend_on_redis_down     text NOT NULL DEFAULT 'closed' CHECK (spend_on_redis_down IN ('open', 'closed')),
    version                 bigint NOT NULL DEFAULT 1,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id               text COLLATE "C" PRIMARY KEY,
    organisation_id  text COLLATE "C" NOT NULL CONSTRAINT users_organisation REFERENCES organisations (id),
    tier             text COLLATE "C" NOT NULL CONSTRAINT users_tier REFERENCES tiers (name),
    role             text NOT NULL CHECK (role IN ('user', 'service', 'operator', 'admin')),
    name             text NOT NULL CHECK (name <> ''),
    state            text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
    version          bigint NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_name UNIQUE (organisation_id, name)
);
CREATE INDEX users_by_tier ON users (tier);

-- Of a key's secret only the SHA-256 is kept.
CREATE TABLE api_keys (
    id            text COLLATE "C" PRIMARY KEY,
    user_id       text COLLATE "C" NOT NULL CONSTRAINT api_keys_user REFERENCES users (id) ON DELETE CASCADE,
    name          text NOT NULL,
    hash          bytea NOT NULL CHECK (octet_length(hash) = 32),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz,
    replaced_by   text COLLATE "C",
    version       bigint NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, id);

CREATE TABLE audit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    who         text NOT NULL,
    key_id      text,
    action      text NOT NULL,
    subject     text NOT NULL,
    before      jsonb,
    after       jsonb,
    request_id  text
);
CREATE INDEX audit_by_subject ON audit (subject, id);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only';
END $$;
CREATE TRIGGER audit_rows_stay BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_stays BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- Whoever changes an account, by whatever way, every instance hears of it: `<changed|ended> <kind> <id>`.
CREATE FUNCTION tell_of_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('citadel_accounts', CASE
        WHEN TG_OP = 'DELETE' OR (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL) THEN 'ended' ELSE 'changed'
    END || ' key ' || OLD.id);
    RETURN NULL;
END $$;
CREATE TRIGGER api_keys_tell AFTER DELETE OR UPDATE OF user_id, hash, expires_at, revoked_at ON api_keys
    FOR EACH ROW EXECUTE FUNCTION tell_of_key();

CREATE FUNCTION tell_of_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('citadel_accounts', CASE
        WHEN TG_OP = 'DELETE' OR (OLD.state = 'active' AND NEW.state = 'suspended') THEN 'ended' ELSE 'changed'
    END || ' user ' || OLD.id);
    RETURN NULL;
END $$;
CREATE TRIGGER users_tell AFTER UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION tell_of_user();

CREATE FUNCTION tell_of_tier() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('citadel_accounts', 'changed tier ' || OLD.name);
    RETURN NULL;
END $$;
CREATE TRIGGER tiers_tell AFTER UPDATE OR DELETE ON tiers
    FOR EACH ROW EXECUTE FUNCTION tell_of_tier();

CREATE FUNCTION tell_of_organisation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('citadel_accounts', 'changed organisation ' || OLD.id);
    RETURN NULL;
END $$;
CREATE TRIGGER organisations_tell AFTER UPDATE OR DELETE ON organisations
    FOR EACH ROW EXECUTE FUNCTION tell_of_organisation();
