-- What a person let a client have: made when a code is redeemed, named by the `grant` claim of access tokens,
-- the head of a refresh-token family. It is alive while it is not revoked, its user and client are, and, unless
-- it is offline, its session has not been ended. Nothing that is issued under it outlives that.
CREATE TABLE grants (
    grant_id       uuid        PRIMARY KEY,
    client_id      text        NOT NULL REFERENCES oauth_clients ON DELETE CASCADE,
    user_id        uuid        NOT NULL REFERENCES users,
    session_id     uuid        REFERENCES sessions,
    scope          text        NOT NULL,                  -- as granted; a refresh may narrow an access token, never this
    offline        boolean     NOT NULL,
    nonce          text,
    acr            text,
    amr            text[],
    claims         jsonb,                                 -- the `claims` request parameter, for UserInfo and later ID tokens
    created_at     timestamptz NOT NULL,
    revoked_at     timestamptz,
    revoked_reason text,
    CONSTRAINT grants_online_has_session CHECK (offline OR session_id IS NOT NULL)
);
CREATE INDEX grants_user_id ON grants (user_id);
CREATE INDEX grants_client_id ON grants (client_id);
CREATE INDEX grants_session_id ON grants (session_id);

-- Authorization codes, by hash. Used ones are kept for as long as their grant can live, so that a late replay
-- still revokes it (RFC 6749 section 4.1.2).
CREATE TABLE authorization_codes (
    code_hash      bytea       PRIMARY KEY,
    client_id      text        NOT NULL REFERENCES oauth_clients ON DELETE CASCADE,
    user_id        uuid        NOT NULL REFERENCES users,
    session_id     uuid        NOT NULL REFERENCES sessions,
    grant_id       uuid        NOT NULL,                  -- the grant's id once the code is redeemed
    redirect_uri   text        NOT NULL,
    scope          text        NOT NULL,
    nonce          text,
    code_challenge text,
    auth_time      bigint      NOT NULL,                  -- the session's, never this row's creation
    acr            text,
    amr            text[],
    claims         jsonb,
    issued_at      timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    used_at        timestamptz,
    CONSTRAINT authorization_codes_hash_size CHECK (octet_length(code_hash) = 32)
);
CREATE INDEX authorization_codes_grant_id ON authorization_codes (grant_id);
CREATE INDEX authorization_codes_session_id ON authorization_codes (session_id);
CREATE INDEX authorization_codes_client_id ON authorization_codes (client_id);
CREATE INDEX authorization_codes_expires_at ON authorization_codes (expires_at);

CREATE TABLE refresh_tokens (
    token_hash          bytea       PRIMARY KEY,
    grant_id            uuid        NOT NULL REFERENCES grants ON DELETE CASCADE,
    auth_time           bigint      NOT NULL,
    parent_hash         bytea,                            -- the token that this one replaced
    successor_salt      bytea,                            -- the successor is HMAC-SHA-256(salt, this token); erased when it is first used
    consumed_at         timestamptz,
    issued_at           timestamptz NOT NULL,
    expires_at          timestamptz NOT NULL,
    absolute_expires_at timestamptz,                      -- the family's cap, where one is configured
    CONSTRAINT refresh_tokens_parent_unique UNIQUE (parent_hash),
    CONSTRAINT refresh_tokens_hash_size CHECK (octet_length(token_hash) = 32)
);
CREATE UNIQUE INDEX refresh_tokens_one_live ON refresh_tokens (grant_id) WHERE consumed_at IS NULL;
CREATE INDEX refresh_tokens_grant_id ON refresh_tokens (grant_id);
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);
