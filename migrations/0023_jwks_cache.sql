-- For how long apps were told to keep the list of public keys, and until when they were told so: a list that was fetched under
-- the old number is kept for the old time, so after the number was lowered a new key has to wait for it all the same.
CREATE TABLE jwks_max_ages (
    max_age_secs   int         PRIMARY KEY,
    last_served_at timestamptz NOT NULL
);
