-- Accounts. A deleted account keeps its row, anonymised, so that its `sub` is never given to anyone else.
CREATE TABLE users (
    user_id             uuid        PRIMARY KEY,          -- the `sub` of every token; random (v4), so that it tells nothing
    username            text,                             -- null once deleted
    username_folded     text,                             -- lower-cased; what uniqueness is judged by
    username_changed_at timestamptz,                      -- null until the first rename
    display_name        text,
    picture             text,                             -- an https URL, the upstream's
    role                text        NOT NULL DEFAULT 'user',
    primary_link_id     uuid,                             -- the link whose address the owner chose as primary
    upstream_claims     jsonb       NOT NULL DEFAULT '{}',-- only the claims that `[claims] passthrough` lists
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    disabled_at         timestamptz,
    deleted_at          timestamptz,
    CONSTRAINT users_role_known CHECK (role IN ('user', 'admin')),
    CONSTRAINT users_named_while_live CHECK (deleted_at IS NOT NULL OR (username IS NOT NULL AND username_folded IS NOT NULL)),
    CONSTRAINT users_upstream_claims_object CHECK (jsonb_typeof(upstream_claims) = 'object')
);
CREATE UNIQUE INDEX users_username_folded_unique ON users (username_folded) WHERE deleted_at IS NULL;

-- Names that were given up and are held for a while, so that nobody can pose as their former owner.
CREATE TABLE held_usernames (
    username_folded text        PRIMARY KEY,
    user_id         uuid        REFERENCES users,
    held_until      timestamptz NOT NULL
);

-- Names that nobody may take, beside those of the configuration.
CREATE TABLE reserved_usernames (
    username_folded text        PRIMARY KEY,
    created_at      timestamptz NOT NULL
);

-- Who a person is at an upstream provider. The identity is (issuer, subject) and never an email address.
CREATE TABLE oauth_links (
    link_id        uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    provider       text        NOT NULL,                  -- the provider's name in the configuration
    issuer         text        NOT NULL,                  -- its issuer, or a fixed id for providers without one
    subject        text        NOT NULL,
    display        text,                                  -- how the provider names this account, for confirmations
    email          text,
    email_folded   text,                                  -- ASCII addresses only; what merging compares
    email_verified boolean     NOT NULL DEFAULT false,    -- as the provider said; how far it is trusted is configuration
    created_at     timestamptz NOT NULL,
    last_login_at  timestamptz NOT NULL,
    CONSTRAINT oauth_links_identity_unique UNIQUE (issuer, subject),
    CONSTRAINT oauth_links_one_per_provider UNIQUE (user_id, provider)
);
CREATE INDEX oauth_links_email_folded ON oauth_links (email_folded) WHERE email_verified;
ALTER TABLE users ADD CONSTRAINT users_primary_link_id_fkey
    FOREIGN KEY (primary_link_id) REFERENCES oauth_links ON DELETE SET NULL;
