-- What is held of a person is found by them: for the export, for a deletion, for a withdrawn consent.
CREATE INDEX authorization_codes_user_id ON authorization_codes (user_id);
CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX held_usernames_user_id ON held_usernames (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX grants_created_at ON grants (created_at);
