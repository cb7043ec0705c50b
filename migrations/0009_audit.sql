-- Who did what, on whom, when, from where. Append-only: an entry authenticates its predecessor's `mac` under a key of the
-- configuration, and the trigger refuses changes. Personal fields are authenticated by salted commitments, so that a
-- deletion can empty them and the chain still verifies.
CREATE TABLE audit_entries (
    sequence          bigint      PRIMARY KEY,
    created_at        timestamptz NOT NULL,
    actor             text        NOT NULL,
    actor_user_id     uuid,
    actor_personal    text,                                -- JSON: the address it came from
    actor_salt        bytea,
    actor_commitment  bytea       NOT NULL,
    action            text        NOT NULL,
    target_kind       text,
    target_id         text,
    target_user_id    uuid,                                -- whose `target_personal` is
    target_personal   text,                                -- JSON: names and addresses
    target_salt       bytea,
    target_commitment bytea       NOT NULL,
    details           text        NOT NULL,                -- JSON, nothing personal
    key_id            bytea       NOT NULL,                -- which key of the configuration made `mac`
    mac               bytea       NOT NULL,
    CONSTRAINT audit_entries_actor_known CHECK (actor IN ('user', 'command_line', 'system')),
    CONSTRAINT audit_entries_commitment_size CHECK (octet_length(actor_commitment) = 32 AND octet_length(target_commitment) = 32),
    CONSTRAINT audit_entries_mac_size CHECK (octet_length(mac) = 32)
);
CREATE INDEX audit_entries_created_at ON audit_entries (created_at);
CREATE INDEX audit_entries_actor_user_id ON audit_entries (actor_user_id) WHERE actor_user_id IS NOT NULL;
CREATE INDEX audit_entries_target_user_id ON audit_entries (target_user_id) WHERE target_user_id IS NOT NULL;

CREATE FUNCTION audit_entries_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- Personal fields may be emptied, nothing else may change.
        IF (NEW.actor_personal IS NULL OR NEW.actor_personal IS NOT DISTINCT FROM OLD.actor_personal)
            AND (NEW.actor_salt IS NULL OR NEW.actor_salt IS NOT DISTINCT FROM OLD.actor_salt)
            AND (NEW.target_personal IS NULL OR NEW.target_personal IS NOT DISTINCT FROM OLD.target_personal)
            AND (NEW.target_salt IS NULL OR NEW.target_salt IS NOT DISTINCT FROM OLD.target_salt)
            AND (to_jsonb(NEW) - '{actor_personal,actor_salt,target_personal,target_salt}'::text[])
                = (to_jsonb(OLD) - '{actor_personal,actor_salt,target_personal,target_salt}'::text[])
        THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION audit_entries_append_only();
CREATE TRIGGER audit_entries_no_truncate BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_append_only();
