-- Browser sessions. A session that ends keeps its row for as long as a grant refers to it: whether an
-- online grant is alive is read from here.
CREATE TABLE sessions (
    session_id      uuid        PRIMARY KEY,              -- the `sid` of tokens; random (v4)
    user_id         uuid        NOT NULL REFERENCES users,
    link_id         uuid        REFERENCES oauth_links ON DELETE SET NULL,
    provider        text        NOT NULL,
    upstream_sid    text,                                 -- the upstream's `sid`, for its back-channel logout
    auth_time       bigint      NOT NULL,                 -- when the upstream login completed, seconds since the epoch
    acr             text,
    amr             text[],
    user_agent      text,
    ip_address      text,
    created_at      timestamptz NOT NULL,
    last_used_at    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,                 -- slides with use
    absolute_expires_at timestamptz,                      -- does not
    ended_at        timestamptz,
    ended_reason    text
);
CREATE INDEX sessions_user_id ON sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_expires_at ON sessions (expires_at);

-- The values of the session cookie, as hashes. They rotate as refresh tokens do, in a table of their own,
-- so that neither kind can pass for the other.
CREATE TABLE session_tokens (
    token_hash     bytea       PRIMARY KEY,
    session_id     uuid        NOT NULL REFERENCES sessions ON DELETE CASCADE,
    parent_hash    bytea,                                 -- the token that this one replaced
    successor_salt bytea,                                 -- the successor is HMAC-SHA-256(salt, this token); erased when it is first used
    consumed_at    timestamptz,
    issued_at      timestamptz NOT NULL,
    CONSTRAINT session_tokens_parent_unique UNIQUE (parent_hash),
    CONSTRAINT session_tokens_hash_size CHECK (octet_length(token_hash) = 32)
);
CREATE UNIQUE INDEX session_tokens_one_live ON session_tokens (session_id) WHERE consumed_at IS NULL;
CREATE INDEX session_tokens_session_id ON session_tokens (session_id);
