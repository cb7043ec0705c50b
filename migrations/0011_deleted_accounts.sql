-- Names of deleted accounts are held as others are, but nothing of the person may remain: only a hash says which they are.
CREATE TABLE held_username_hashes (
    username_hash bytea       PRIMARY KEY,                -- SHA-256 of the folded name, UTF-8
    held_until    timestamptz NOT NULL,
    CONSTRAINT held_username_hashes_size CHECK (octet_length(username_hash) = 32)
);

-- What a deletion, and the rule that one administrator stays, look for.
CREATE INDEX users_admins ON users (user_id) WHERE role = 'admin';
CREATE INDEX users_primary_link_id ON users (primary_link_id) WHERE primary_link_id IS NOT NULL;
CREATE INDEX sessions_ended_of_user ON sessions (user_id) WHERE ended_at IS NOT NULL;
