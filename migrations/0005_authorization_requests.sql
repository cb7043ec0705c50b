-- Authorization requests that wait for a person: stored once, bound to the browser they arrived in, resumed by id.
-- `sealed` is the parsed request, encrypted under a key that only the holder of the id can derive.
CREATE TABLE authorization_requests (
    request_hash       bytea       PRIMARY KEY,
    browser_hash       bytea,                             -- null: arrived by a cross-site POST, bound by the first resume
    client_id          text        NOT NULL REFERENCES oauth_clients ON DELETE CASCADE,
    sealed             bytea       NOT NULL,
    demands_login      boolean,                           -- judged once, on the first request that can show its cookies
    login_satisfied_at timestamptz,                       -- a sign-in started for this request succeeded
    user_id            uuid        REFERENCES users,      -- who answers it, once somebody does
    session_id         uuid        REFERENCES sessions ON DELETE CASCADE,
    decision           text,                              -- of the person who was asked for consent
    failure            text,                              -- the OAuth error that the upstream sign-in ended in
    created_at         timestamptz NOT NULL,
    expires_at         timestamptz NOT NULL,
    CONSTRAINT authorization_requests_decision_known CHECK (decision IN ('approved', 'denied'))
);
CREATE INDEX authorization_requests_browser_hash ON authorization_requests (browser_hash, created_at);
CREATE INDEX authorization_requests_expires_at ON authorization_requests (expires_at);
CREATE INDEX authorization_requests_client_id ON authorization_requests (client_id);
CREATE INDEX authorization_requests_session_id ON authorization_requests (session_id);

-- What a person has agreed to, per client; asked again only for scopes that are not in it.
CREATE TABLE consents (
    user_id    uuid        NOT NULL REFERENCES users,
    client_id  text        NOT NULL REFERENCES oauth_clients ON DELETE CASCADE,
    scope      text        NOT NULL,
    granted_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, client_id)
);
CREATE INDEX consents_client_id ON consents (client_id);
