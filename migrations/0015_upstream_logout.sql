-- Logout tokens of upstream providers that have counted: each does once. Kept for as long as its age would be accepted.
CREATE TABLE upstream_logout_tokens (
    provider   text        NOT NULL,                      -- the provider's name in the configuration
    jti        text        NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (provider, jti)
);
CREATE INDEX upstream_logout_tokens_expires_at ON upstream_logout_tokens (expires_at);

-- By what an upstream names the session that it ends.
CREATE INDEX sessions_upstream_sid ON sessions (provider, upstream_sid) WHERE ended_at IS NULL AND upstream_sid IS NOT NULL;
