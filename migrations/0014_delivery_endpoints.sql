-- Who a delivery goes to, as one name for both kinds: the worker takes few at a time from each, however many wait for one
-- that is slow or dead.
ALTER TABLE deliveries
    ADD COLUMN endpoint text NOT NULL GENERATED ALWAYS AS (
        CASE kind WHEN 'webhook' THEN 'webhook:' || webhook_id::text ELSE 'client:' || client_id END
    ) STORED,
    -- Attempts that were made before somebody asked for it to be sent again: what is counted begins anew.
    ADD COLUMN attempts_before_redelivery integer NOT NULL DEFAULT 0;
DROP INDEX deliveries_due;
CREATE INDEX deliveries_waiting ON deliveries (endpoint, next_attempt_at) WHERE status = 'pending';
CREATE INDEX deliveries_leased ON deliveries (lease_id) WHERE lease_id IS NOT NULL;

