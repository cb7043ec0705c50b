-- Since when a webhook that was disabled may be sent to again: what waited meanwhile has not been due all that time.
ALTER TABLE webhooks ADD COLUMN enabled_at timestamptz;

-- A claim changes nothing that is indexed, so that it stays within its page and leaves nothing behind in any index. Leases are
-- ended by the ids of their deliveries.
DROP INDEX deliveries_leased;
ALTER TABLE deliveries SET (fillfactor = 80);

-- What failed is looked for among much that did not.
CREATE INDEX deliveries_failed_of_webhook ON deliveries (webhook_id, created_at)
    WHERE status = 'failed' AND webhook_id IS NOT NULL;
CREATE INDEX deliveries_failed_of_client ON deliveries (client_id, created_at)
    WHERE status = 'failed' AND client_id IS NOT NULL;
