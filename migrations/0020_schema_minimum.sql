-- The oldest program that works with this schema, named by the newest migration that it knows. A migration that older
-- programs cannot live with sets it to its own number; everything else is added in a way that they do not notice.
CREATE TABLE schema_minimum (
    only_row boolean PRIMARY KEY DEFAULT true,
    version  bigint  NOT NULL,
    CONSTRAINT schema_minimum_one_row CHECK (only_row)
);
INSERT INTO schema_minimum (version) VALUES (1);
