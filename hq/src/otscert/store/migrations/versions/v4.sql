-- Version 4, from version 3: tables that changed (set aside before), new tables, and new indexes of the others.
CREATE INDEX device_not_served ON device (state, unserved) WHERE unserved = 1;
-- Keys of certificates and identities whose possession was verified; unique over the key and its x coordinate.
CREATE TABLE verified_key (
    spki_sha256     BLOB    PRIMARY KEY,
    x_coordinate    BLOB    NOT NULL UNIQUE, -- Ed25519: the point without its sign; RSA: SHA-256 of the modulus
    device_id       TEXT    NOT NULL,
    kind            TEXT    NOT NULL, -- certificate | identity
    contribution    TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    seen_at_s       INTEGER NOT NULL,
    compromised_s   INTEGER           -- since when it is known that others have it
) STRICT;
-- `order` is a reserved word.
CREATE TABLE cert_order (
    id              TEXT    PRIMARY KEY,
    device_id       TEXT    NOT NULL REFERENCES device (id),
    txid            TEXT    NOT NULL UNIQUE,
    label           TEXT    NOT NULL,
    names           TEXT    NOT NULL, -- separated by a space
    csr_der         BLOB    NOT NULL,
    state           TEXT    NOT NULL,
    issuer          TEXT    NOT NULL,
    profile         TEXT,
    attempt         INTEGER NOT NULL,
    url             TEXT    UNIQUE,
    reason          TEXT    NOT NULL,
    created_at_s    INTEGER NOT NULL,
    next_at_s       INTEGER NOT NULL,
    certificate_sha256 TEXT,
    replaces        TEXT,             -- RFC 9773: the ARI id of the certificate that it follows; as sent to the CA
    rank            INTEGER NOT NULL, -- domain.budget.Rank: who goes first while the CA's limits are short
    waits_for       TEXT,             -- the bucket (bucket.name) whose refill it waits for; NULL: only its time counts
    failing_since_s INTEGER,          -- since when its present issuer has failed it; NULL: it has not
    lease_by        TEXT,             -- hq_process.id of who works on it; NULL: nobody
    lease_until_s   INTEGER NOT NULL  -- others may take it over from then on
) STRICT;
CREATE INDEX cert_order_due ON cert_order (rank, next_at_s) WHERE waits_for IS NULL AND state NOT IN ('issued', 'failed');
CREATE INDEX cert_order_next ON cert_order (next_at_s) WHERE waits_for IS NULL AND state NOT IN ('issued', 'failed');
CREATE INDEX cert_order_waits ON cert_order (waits_for, rank, created_at_s, id)
    WHERE waits_for IS NOT NULL AND state NOT IN ('issued', 'failed');
CREATE INDEX cert_order_unfinished ON cert_order (state, created_at_s) WHERE state NOT IN ('issued', 'failed');
CREATE INDEX cert_order_leased ON cert_order (lease_by) WHERE lease_by IS NOT NULL;
CREATE INDEX cert_order_by_device ON cert_order (device_id, created_at_s);
-- What follows the leaf in a chain: a CA has a handful, a fleet has millions of leaves.
CREATE TABLE issuer_chain (
    sha256          BLOB    PRIMARY KEY,
    pem             TEXT    NOT NULL
) STRICT;
CREATE TABLE certificate (
    sha256          TEXT    PRIMARY KEY, -- hex, of the leaf's DER
    device_id       TEXT    NOT NULL REFERENCES device (id),
    order_id        TEXT    NOT NULL UNIQUE REFERENCES cert_order (id),
    issuer          TEXT    NOT NULL,
    serial          TEXT    NOT NULL, -- hex
    spki_sha256     BLOB    NOT NULL,
    not_before_s    INTEGER NOT NULL,
    not_after_s     INTEGER NOT NULL,
    leaf            BLOB    NOT NULL, -- its PEM, deflated
    issuers         BLOB    NOT NULL REFERENCES issuer_chain (sha256),
    issued_at_s     INTEGER NOT NULL,
    served_at_s     INTEGER,
    replaced        INTEGER NOT NULL, -- 1: of an identity that is over; kept for the record, and to be revoked
    ari_next_poll_s INTEGER,          -- when the CA is asked for the window again; NULL: not any more
    ari_start_s     INTEGER,          -- the window that the CA suggests (RFC 9773); NULL until it did
    ari_end_s       INTEGER,
    ari_told_s      INTEGER,          -- when it first named this window
    renew_at_s      INTEGER,          -- our moment in it, drawn once
    ari_explanation TEXT,             -- a URL for people
    recall          TEXT              -- incident.id: an operator wants it replaced now; NULL: nobody does
) STRICT;
CREATE INDEX certificate_by_device ON certificate (device_id, issued_at_s);
CREATE INDEX certificate_by_end ON certificate (not_after_s, replaced);
CREATE INDEX certificate_recalled ON certificate (recall, device_id, sha256) WHERE recall IS NOT NULL;
CREATE INDEX certificate_by_serial ON certificate (serial);
CREATE INDEX certificate_by_key ON certificate (spki_sha256);
CREATE INDEX certificate_ari_due ON certificate (ari_next_poll_s) WHERE ari_next_poll_s IS NOT NULL;
-- Certificates that HQ asks their CA to revoke (RFC 8555, section 7.6).
CREATE TABLE revocation (
    certificate_sha256 TEXT PRIMARY KEY REFERENCES certificate (sha256),
    reason          INTEGER NOT NULL, -- CRLReason, RFC 5280 section 5.3.1
    asked_at_s      INTEGER NOT NULL,
    next_at_s       INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    problem         TEXT    NOT NULL, -- why the last try failed
    done_at_s       INTEGER
) STRICT;
CREATE INDEX revocation_due ON revocation (next_at_s) WHERE done_at_s IS NULL;
CREATE INDEX revocation_asked ON revocation (asked_at_s, done_at_s) WHERE done_at_s IS NULL;
CREATE INDEX newest_certificate_late ON newest_certificate (late_s, device_id);
CREATE TABLE acme_account (
    issuer          TEXT    PRIMARY KEY,
    directory_url   TEXT    NOT NULL,
    key_sealed      BLOB    NOT NULL,
    url             TEXT    NOT NULL, -- empty until the CA has answered
    created_at_s    INTEGER NOT NULL,
    next_key_sealed BLOB              -- while the key is being rolled over (RFC 8555, section 7.3.5)
) STRICT;
-- What HQ has learned about each issuer: the circuit breaker and the state of the account.
CREATE TABLE issuer (
    name            TEXT    PRIMARY KEY,
    failures        INTEGER NOT NULL, -- in a row, of the kinds that say something about the issuer
    failing_since_s INTEGER,
    open_until_s    INTEGER NOT NULL, -- nothing is asked of it before (0: it may be asked)
    reason          TEXT    NOT NULL, -- of the last failure
    last_success_s  INTEGER,
    account_problem TEXT    NOT NULL, -- lost | paused | terms | refused; empty: none
    account_reason  TEXT    NOT NULL,
    account_link    TEXT    NOT NULL, -- where a person has to go
    account_since_s INTEGER
) STRICT;
-- The CA's limits as far as they are used up: domain.budget.
CREATE TABLE bucket (
    name            TEXT    PRIMARY KEY, -- issuer, kind of limit and subject, separated by a space
    issuer          TEXT    NOT NULL,
    tat_ms          INTEGER NOT NULL,
    parked_until_s  INTEGER NOT NULL, -- the CA said so (429, Retry-After); 0: it did not
    reason          TEXT    NOT NULL
) STRICT;
CREATE INDEX bucket_by_issuer ON bucket (issuer, name);
CREATE INDEX bucket_idle ON bucket (tat_ms, parked_until_s);
-- Certificates that an operator wants replaced at once: `otscert reissue`, `otscert cert revoke`.
CREATE TABLE incident (
    id              TEXT    PRIMARY KEY,
    reason          TEXT    NOT NULL,
    filter          TEXT    NOT NULL, -- a JSON object: what --where said
    revoke_reason   INTEGER,          -- CRLReason for what was replaced; NULL: not revoked
    started_s       INTEGER NOT NULL,
    place           TEXT    NOT NULL, -- how far the fleet was looked through: a device id or a serial number
    marked_s        INTEGER,          -- when all of it was looked through; NULL: run the same command again to go on
    count           INTEGER NOT NULL, -- certificates that it marked
    idle            INTEGER NOT NULL, -- that fit but that no box uses any more: at most revoked
    replaced        INTEGER NOT NULL, -- marked ones whose box serves a newer one
    released        INTEGER NOT NULL, -- marked ones that ended by themselves, or with their box, or that another took
    ended_s         INTEGER
) STRICT;
CREATE INDEX incident_by_start ON incident (started_s, id);
CREATE INDEX incident_running ON incident (started_s, id) WHERE ended_s IS NULL;
-- What somebody is told: one row for each thing that is wrong, until it has been well again for a day.
CREATE TABLE alert (
    kind            TEXT    NOT NULL,
    subject         TEXT    NOT NULL, -- what it is about: an issuer, a model, a channel; empty: all of HQ
    severity        TEXT    NOT NULL, -- critical | warning
    since_s         INTEGER NOT NULL, -- since when it is so, as far as HQ can tell
    found_s         INTEGER NOT NULL, -- when HQ found it so, after it had been well or for the first time
    seen_s          INTEGER NOT NULL, -- when it was last found to be so
    facts           TEXT    NOT NULL, -- a JSON object without secrets
    told_s          INTEGER,          -- when a message about it was last handed to the outbox; NULL: not yet
    told_count      INTEGER NOT NULL, -- how many were concerned then
    well_s          INTEGER,          -- since when it is found well, though not for long enough to be over
    over_s          INTEGER,          -- when it had been well for long enough
    times           INTEGER NOT NULL, -- how often it came back within a day: the longer it must be well
    PRIMARY KEY (kind, subject)
) STRICT;
-- Messages on their way to people; each channel has its own row.
CREATE TABLE outbox (
    id              TEXT    PRIMARY KEY,
    channel         TEXT    NOT NULL,
    message         TEXT    NOT NULL, -- a JSON object without secrets
    created_s       INTEGER NOT NULL,
    until_s         INTEGER NOT NULL, -- given up then
    next_at_s       INTEGER NOT NULL, -- while it is being sent: when it is taken for lost
    attempt         INTEGER NOT NULL,
    problem         TEXT    NOT NULL, -- why the last try failed; empty once it was sent
    done_s          INTEGER           -- sent, or given up
) STRICT;
CREATE INDEX outbox_due ON outbox (channel, next_at_s) WHERE done_s IS NULL;
CREATE INDEX outbox_until ON outbox (until_s) WHERE done_s IS NULL;
CREATE INDEX outbox_done ON outbox (done_s) WHERE done_s IS NOT NULL;
CREATE INDEX outbox_of_channel ON outbox (channel, done_s) WHERE done_s IS NOT NULL;
-- When the alerting of one of the processes did what: looked, heard (boxes can be heard since), digest.
CREATE TABLE alerting (
    name            TEXT    PRIMARY KEY,
    at_s            INTEGER NOT NULL
) STRICT;
-- The processes that share this store; with SQLite there is one.
CREATE TABLE hq_process (
    id              TEXT    PRIMARY KEY,
    host            TEXT    NOT NULL,
    pid             INTEGER NOT NULL,
    roles           TEXT    NOT NULL, -- separated by a space
    key_check       TEXT    NOT NULL, -- tells apart who has another pki folder, and betrays nothing of its keys
    started_s       INTEGER NOT NULL,
    seen_s          INTEGER NOT NULL
) STRICT;
CREATE INDEX hq_process_seen ON hq_process (seen_s, id);
-- What only one process does at a time, and who does it.
CREATE TABLE duty (
    name            TEXT    PRIMARY KEY,
    held_by         TEXT    NOT NULL, -- hq_process.id
    until_s         INTEGER NOT NULL  -- others may take it over from then on
) STRICT;
-- Values of the zone's CAA records (RFC 8659, `issue`), as the accounts at the issuers want them.
CREATE TABLE caa_record (
    issuer          TEXT    NOT NULL,
    value           TEXT    NOT NULL,
    PRIMARY KEY (issuer, value)
) STRICT;
-- Labels whose content in the zone changed, for zones in other processes; written on PostgreSQL only.
CREATE TABLE zone_change (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    label           TEXT    NOT NULL
) STRICT;
