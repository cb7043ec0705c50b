-- When each key of the configuration was first published and first signed, as the first instance saw it: whether a key can
-- be removed, and how old it is, is known after a restart and on every instance.
CREATE TABLE signing_keys (
    kid             text        PRIMARY KEY,
    algorithm       text        NOT NULL,
    first_seen_at   timestamptz NOT NULL,
    first_signed_at timestamptz,
    last_signed_at  timestamptz                            -- when another key took over; null while it signs or before
);
