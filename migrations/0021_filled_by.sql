-- Which link the upstream's part of a profile came by: what a link brought along leaves with it. Null while the member is
-- empty, for a display name that its owner chose, and for what was there before this was kept (a picture or claims of which
-- nobody can tell any more leave with whichever link goes first, and the next sign-in brings them back).
--
-- No foreign keys: who takes a link away empties what it filled in the same transaction, and every deletion of a link would
-- need three more indexes on the table that each sign-in writes to.
ALTER TABLE users
    ADD COLUMN display_name_link_id uuid,
    ADD COLUMN picture_link_id      uuid,
    ADD COLUMN claims_link_id       uuid;

-- An older program beside this one would write the profile without these columns: a name that the owner chose there would leave
-- with a link, and what a stranger's link filled there would stay.
UPDATE schema_minimum SET version = 21;
