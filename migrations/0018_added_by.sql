-- By which link another one came to an account: the one that its owner was signed in by when they confirmed it, or the one
-- whose address it was merged by. A merge that is undone takes along what came by it.
ALTER TABLE oauth_links ADD COLUMN added_by_link_id uuid REFERENCES oauth_links ON DELETE SET NULL;
CREATE INDEX oauth_links_added_by_link_id ON oauth_links (added_by_link_id) WHERE added_by_link_id IS NOT NULL;

-- The links that a session was signed in by before its last one, for what was had through it then.
ALTER TABLE sessions ADD COLUMN earlier_link_ids uuid[] NOT NULL DEFAULT '{}';
