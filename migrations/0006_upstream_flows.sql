-- Sign-ins under way at an upstream provider. `state` is the handle: its hash finds the row, it also opens `sealed`
-- (nonce, PKCE verifier, return_to, the id of the authorization request). Consumed once, at the callback.
CREATE TABLE upstream_flows (
    state_hash   bytea       PRIMARY KEY,
    browser_hash bytea       NOT NULL,
    provider     text        NOT NULL,
    kind         text        NOT NULL,
    user_id      uuid        REFERENCES users,            -- who started a link
    session_id   uuid        REFERENCES sessions ON DELETE CASCADE,
    sealed       bytea       NOT NULL,
    posted       bytea,                                   -- a form_post answer, sealed, waiting for the GET that has the cookies
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    CONSTRAINT upstream_flows_kind_known CHECK (kind IN ('login', 'link'))
);
CREATE INDEX upstream_flows_browser_hash ON upstream_flows (browser_hash, created_at);
CREATE INDEX upstream_flows_expires_at ON upstream_flows (expires_at);

-- Identities that an upstream has proved and that wait for a decision of the person: a newcomer's username (`setup`)
-- or the confirmation of a link (`link`). Bound to the browser; consumed once.
CREATE TABLE pending_identities (
    handle_hash  bytea       PRIMARY KEY,
    browser_hash bytea       NOT NULL,
    kind         text        NOT NULL,
    user_id      uuid        REFERENCES users,
    session_id   uuid        REFERENCES sessions ON DELETE CASCADE,
    sealed       bytea       NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    CONSTRAINT pending_identities_kind_known CHECK (kind IN ('setup', 'link'))
);
CREATE INDEX pending_identities_browser_hash ON pending_identities (browser_hash, created_at);
CREATE INDEX pending_identities_expires_at ON pending_identities (expires_at);
