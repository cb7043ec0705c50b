-- What administrators look for has an index: names by their beginning (in byte order, so that a range finds them), accounts
-- by age, addresses whether verified or not, entries of the trail by their target.
CREATE INDEX users_username_folded_bytes ON users (username_folded COLLATE "C", user_id) WHERE deleted_at IS NULL;
CREATE INDEX users_created_at ON users (created_at, user_id) WHERE deleted_at IS NULL;
-- Every change to an administrator locks all of them.
CREATE INDEX users_admins ON users (user_id) WHERE role = 'admin' AND deleted_at IS NULL AND disabled_at IS NULL;
CREATE INDEX oauth_links_any_email_folded ON oauth_links (email_folded) WHERE email_folded IS NOT NULL;
CREATE INDEX audit_entries_target_id ON audit_entries (target_id) WHERE target_id IS NOT NULL;
