-- A link that came by a merge and not by its owner's confirmation can be given an account of its own again.
ALTER TABLE oauth_links ADD COLUMN merged_at timestamptz;

-- What hangs on a link, and on who waits for one, is looked up when a link goes.
CREATE INDEX sessions_link_id ON sessions (link_id) WHERE link_id IS NOT NULL;
CREATE INDEX upstream_flows_user_id ON upstream_flows (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX upstream_flows_session_id ON upstream_flows (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX pending_identities_user_id ON pending_identities (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX pending_identities_session_id ON pending_identities (session_id) WHERE session_id IS NOT NULL;
