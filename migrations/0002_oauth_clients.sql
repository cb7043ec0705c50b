-- Registered clients. `generation` changes with every write, so that a copy in memory can be known to be stale.
CREATE TABLE oauth_clients (
    client_id                            text        PRIMARY KEY,
    name                                 text        NOT NULL,
    client_type                          text        NOT NULL,
    secret_hash                          bytea,             -- SHA-256 of a 256-bit random secret
    previous_secret_hash                 bytea,             -- still valid while a rotation overlaps
    previous_secret_expires_at           timestamptz,
    redirect_uris                        text[]      NOT NULL,
    post_logout_redirect_uris            text[]      NOT NULL DEFAULT '{}',
    backchannel_logout_uri               text,
    backchannel_logout_session_required  boolean     NOT NULL DEFAULT false,
    scope                                text        NOT NULL DEFAULT '',   -- allowed beyond openid, profile and email
    grant_types                          text[]      NOT NULL DEFAULT '{authorization_code,refresh_token}',
    auto_approve                         boolean     NOT NULL DEFAULT false,
    require_pkce                         boolean     NOT NULL DEFAULT true,
    token_endpoint_auth_method           text,              -- null: a confidential client may use either secret method
    id_token_signed_response_alg         text,
    claims_in_id_token                   boolean     NOT NULL DEFAULT false,
    audience                             text,
    request_object_jwks                  jsonb,
    refresh_reuse_leeway_secs            integer,
    disabled_at                          timestamptz,
    created_at                           timestamptz NOT NULL,
    updated_at                           timestamptz NOT NULL,
    generation                           bigint      NOT NULL DEFAULT 1,
    CONSTRAINT oauth_clients_type_known CHECK (client_type IN ('confidential', 'public', 'native')),
    CONSTRAINT oauth_clients_secret_by_type CHECK ((client_type = 'confidential') = (secret_hash IS NOT NULL)),
    CONSTRAINT oauth_clients_auth_method_known CHECK (token_endpoint_auth_method IN ('client_secret_basic', 'client_secret_post', 'none')),
    CONSTRAINT oauth_clients_alg_known CHECK (id_token_signed_response_alg IN ('ES256', 'RS256')),
    CONSTRAINT oauth_clients_leeway_bounded CHECK (refresh_reuse_leeway_secs BETWEEN 0 AND 300)
);

CREATE SEQUENCE oauth_clients_generation;
CREATE FUNCTION oauth_clients_new_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- From a sequence, not the old value plus one: a client removed and registered again must not repeat a generation.
    NEW.generation := nextval('oauth_clients_generation');
    RETURN NEW;
END $$;
CREATE TRIGGER oauth_clients_generation BEFORE INSERT OR UPDATE ON oauth_clients
    FOR EACH ROW EXECUTE FUNCTION oauth_clients_new_generation();
