-- What version 5 adds.

-- How far something about the zone has come: `serial` (no SOA had a higher one), `pushed <server>` (zone_change.number).
CREATE TABLE zone_place (
    name            TEXT    PRIMARY KEY,
    number          INTEGER NOT NULL
) STRICT;

-- TXT values at `_validation-persist` below every box (dns-persist-01), as the accounts at the issuers want them.
CREATE TABLE persist_record (
    issuer          TEXT    NOT NULL,
    value           TEXT    NOT NULL,
    PRIMARY KEY (issuer, value)
) STRICT;

ALTER TABLE device ADD COLUMN serving_since_s INTEGER;
