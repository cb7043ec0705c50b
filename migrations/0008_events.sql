-- What has happened, for those who want to hear of it. A row is written in the transaction of the change it tells of.
CREATE TABLE events (
    event_id    uuid        PRIMARY KEY,                  -- time-ordered (v7); receivers know a repetition by it
    event_type  text        NOT NULL,
    user_id     uuid        REFERENCES users,             -- whom it is about
    client_id   text,                                     -- the client it concerns; no reference, the event outlives it
    data        jsonb       NOT NULL,                     -- names in it are removed when the person is deleted
    created_at  timestamptz NOT NULL,
    scrubbed_at timestamptz,
    CONSTRAINT events_data_object CHECK (jsonb_typeof(data) = 'object')
);
CREATE INDEX events_user_id ON events (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX events_created_at ON events (created_at);

-- Who wants to hear of events. Secrets are sealed under a key of the configuration, since they must be read back to sign.
CREATE TABLE webhooks (
    webhook_id                 uuid        PRIMARY KEY,
    client_id                  text        REFERENCES oauth_clients ON DELETE CASCADE,  -- null: hears of everything
    url                        text        NOT NULL,
    description                text        NOT NULL DEFAULT '',
    event_types                text[]      NOT NULL DEFAULT '{}',                        -- empty: all
    sealed_secret              bytea       NOT NULL,
    sealed_previous_secret     bytea,                                                    -- signs too while a rotation overlaps
    previous_secret_expires_at timestamptz,
    disabled_at                timestamptz,
    created_at                 timestamptz NOT NULL,
    updated_at                 timestamptz NOT NULL,
    CONSTRAINT webhooks_overlap_ends CHECK ((sealed_previous_secret IS NULL) = (previous_secret_expires_at IS NULL))
);
CREATE INDEX webhooks_client_id ON webhooks (client_id) WHERE client_id IS NOT NULL;

-- What is to be sent: an event to a webhook, or a logout token to a client (its token is made at each attempt, since it
-- expires). Claimed under a lease; a result counts only while the lease is the row's own.
CREATE TABLE deliveries (
    delivery_id     uuid        PRIMARY KEY,
    kind            text        NOT NULL,
    event_id        uuid        REFERENCES events ON DELETE CASCADE,
    webhook_id      uuid        REFERENCES webhooks ON DELETE CASCADE,
    client_id       text        REFERENCES oauth_clients ON DELETE CASCADE,
    user_id         uuid        REFERENCES users,
    session_id      uuid,                                  -- no reference: the notice outlives the session
    status          text        NOT NULL DEFAULT 'pending',
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    lease_id        uuid,
    leased_until    timestamptz,
    created_at      timestamptz NOT NULL,
    completed_at    timestamptz,
    CONSTRAINT deliveries_kind_known CHECK (kind IN ('webhook', 'backchannel_logout')),
    CONSTRAINT deliveries_status_known CHECK (status IN ('pending', 'delivered', 'failed')),
    CONSTRAINT deliveries_completed CHECK ((status = 'pending') = (completed_at IS NULL)),
    CONSTRAINT deliveries_webhook_complete CHECK (kind <> 'webhook' OR (event_id IS NOT NULL AND webhook_id IS NOT NULL)),
    CONSTRAINT deliveries_logout_complete
        CHECK (kind <> 'backchannel_logout' OR (client_id IS NOT NULL AND user_id IS NOT NULL)),
    CONSTRAINT deliveries_leased CHECK ((lease_id IS NULL) = (leased_until IS NULL))
);
CREATE INDEX deliveries_due ON deliveries (next_attempt_at) WHERE status = 'pending';
CREATE INDEX deliveries_event_id ON deliveries (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX deliveries_webhook_id ON deliveries (webhook_id, created_at) WHERE webhook_id IS NOT NULL;
CREATE INDEX deliveries_client_id ON deliveries (client_id, created_at) WHERE client_id IS NOT NULL;
CREATE INDEX deliveries_user_id ON deliveries (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX deliveries_completed_at ON deliveries (completed_at) WHERE completed_at IS NOT NULL;

-- What each attempt came to: a fixed code, never the answer itself.
CREATE TABLE delivery_attempts (
    delivery_id  uuid        NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    attempt      integer     NOT NULL,
    attempted_at timestamptz NOT NULL,
    duration_ms  integer     NOT NULL,
    status_code  smallint,                                 -- of the HTTP answer, if there was one
    error        text,                                     -- null: it succeeded
    PRIMARY KEY (delivery_id, attempt)
);
