-- What version 5 adds.

-- How far something about the zone has come: `serial` (no SOA had a higher one), `pushed <server>` (zone_change.number).
CREATE TABLE zone_place (
    name            TEXT    PRIMARY KEY,
    number          INTEGER NOT NULL
) STRICT;
