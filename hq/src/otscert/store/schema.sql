-- The schema of HQ's store, version 5. Times are Unix seconds (`_s`) or milliseconds (`_ms`); digests are raw bytes.
-- Portable to PostgreSQL: no rowid, no affinity tricks; STRICT is SQLite's way of keeping the promise.

-- The version of this schema, where Alembic looks for it.
CREATE TABLE alembic_version (
    version_num     TEXT    PRIMARY KEY NOT NULL
) STRICT;

CREATE TABLE device (
    id              TEXT    PRIMARY KEY,
    thumbprint      TEXT    NOT NULL UNIQUE,
    model           TEXT    NOT NULL,
    serial          TEXT,
    firmware        TEXT    NOT NULL,
    label           TEXT    NOT NULL UNIQUE,
    state           TEXT    NOT NULL,
    policy          TEXT    NOT NULL,
    contribution    TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    admitted_at_s   INTEGER NOT NULL,
    last_seen_s     INTEGER NOT NULL,
    addresses       TEXT    NOT NULL, -- canonical texts, separated by a space
    served_sha256   TEXT,
    unserved        INTEGER NOT NULL,
    token_hash      BLOB    NOT NULL, -- SHA-256 of the current epoch token
    previous_hash   BLOB    NOT NULL,
    last_txid       TEXT    NOT NULL,
    fingerprint     TEXT    NOT NULL,
    last_resync_s   INTEGER,
    cmd_seq         INTEGER NOT NULL, -- rises with every answer that holds commands
    unit            TEXT,             -- factory_unit.thumbprint, of a box with a factory secret
    tags            TEXT    NOT NULL, -- what the webhook called it, separated by a space
    retired         TEXT,             -- why its name was taken back: reset | transfer | replaced | removed
    in_dns          INTEGER NOT NULL, -- 1 while the zone holds its name
    checkin_answer  BLOB,             -- sealed: the last check-in's answer, for the repetition with a new seq
    serving_since_s INTEGER           -- since when its web server presents its newest certificate; NULL: it does not
) STRICT;
CREATE INDEX device_by_model ON device (model, id);
CREATE INDEX device_by_serial ON device (serial) WHERE serial IS NOT NULL;
CREATE INDEX device_by_unit ON device (unit, admitted_at_s) WHERE unit IS NOT NULL;
CREATE INDEX device_retired_in_dns ON device (id) WHERE in_dns = 1 AND state = 'retired';
CREATE INDEX device_seen_in_dns ON device (last_seen_s, in_dns) WHERE in_dns = 1;
CREATE INDEX device_by_standing ON device (state, model, policy, contribution, in_dns);
CREATE INDEX device_unserved ON device (state, unserved) WHERE unserved >= 2;
CREATE INDEX device_not_served ON device (state, unserved) WHERE unserved = 1;

CREATE TABLE device_key (
    thumbprint      TEXT    PRIMARY KEY,
    alg             TEXT    NOT NULL,
    raw             BLOB    NOT NULL,
    device_id       TEXT    REFERENCES device (id),
    last_seq        INTEGER NOT NULL,
    last_digest     BLOB    NOT NULL,
    last_answer     BLOB,             -- sealed: given again when the same message comes again
    created_at_s    INTEGER NOT NULL
) STRICT;
CREATE INDEX device_key_unbound ON device_key (created_at_s) WHERE device_id IS NULL;

-- One row per hello until it expires; the label is reserved by it and by nothing else.
CREATE TABLE hello (
    txid            TEXT    PRIMARY KEY,
    thumbprint      TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    serial          TEXT,
    firmware        TEXT    NOT NULL,
    fingerprint     TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    canary          TEXT    NOT NULL,
    boot            INTEGER NOT NULL, -- the box's own count of its starts
    label           TEXT    NOT NULL,
    contribution    TEXT    NOT NULL, -- what r was: open | sealed
    unit            TEXT,             -- factory_unit.thumbprint, when a factory key or its device said hello
    keeps           TEXT,             -- a unit that starts over under its old name: the device whose name it is
    expected_point  BLOB    NOT NULL, -- D0 + r*G: public, so r itself is never stored here
    address         TEXT    NOT NULL, -- where it came from, for quotas
    device_id       TEXT,             -- a renewal
    expires_at_s    INTEGER NOT NULL,
    csr_sha256      BLOB,             -- of the first valid enrolment; from then on txid is the idempotency key
    identity        TEXT              -- thumbprint of the identity key that enrolled
) STRICT;
CREATE INDEX hello_expiry ON hello (expires_at_s);
CREATE INDEX hello_by_key ON hello (thumbprint);

CREATE TABLE seen_d0 (
    sha256          BLOB    PRIMARY KEY,
    forget_at_s     INTEGER NOT NULL
) STRICT;

CREATE INDEX seen_d0_by_time ON seen_d0 (forget_at_s);

-- Every name ever given or reserved; a name in use is never deleted, so it is never given twice.
CREATE TABLE name (
    label           TEXT    PRIMARY KEY,
    txid            TEXT,             -- reserved by this hello
    device_id       TEXT              -- given for good
) STRICT;
CREATE INDEX name_by_txid ON name (txid) WHERE txid IS NOT NULL;

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

-- Moduli of the RSA keys among them, in the order in which they came. Never deleted: a new key is compared with all.
CREATE TABLE rsa_modulus (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    spki_sha256     BLOB    NOT NULL UNIQUE,
    modulus         BLOB    NOT NULL, -- big-endian
    device_id       TEXT    NOT NULL
) STRICT;

-- Units whose manifest was imported. HQ never sees a factory secret.
CREATE TABLE factory_unit (
    thumbprint      TEXT    PRIMARY KEY, -- of F_sign
    model           TEXT    NOT NULL,
    serial          TEXT    NOT NULL,
    short_id        TEXT    NOT NULL UNIQUE,
    sign_key        BLOB    NOT NULL,
    seal_key        BLOB    NOT NULL UNIQUE,
    setup_hash      BLOB    NOT NULL,
    batch           TEXT    NOT NULL,
    state           TEXT    NOT NULL, -- stamped | confirmed | blocked | quarantined
    device_id       TEXT,             -- the device that it is now
    fingerprint     TEXT,             -- of the board that enrolled with it
    imported_at_s   INTEGER NOT NULL,
    UNIQUE (model, serial)
) STRICT;
CREATE INDEX factory_unit_by_serial ON factory_unit (serial);
CREATE INDEX factory_unit_by_batch ON factory_unit (batch, serial, short_id, model, state, device_id);

-- Serial numbers that never enrol, stamped or not.
CREATE TABLE blocked_serial (
    model           TEXT    NOT NULL,
    serial          TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    at_s            INTEGER NOT NULL,
    PRIMARY KEY (model, serial)
) STRICT;

-- Enrolments that wait for a person or for the maker's webhook; gone when the box is admitted or silent.
CREATE TABLE admission_request (
    txid            TEXT    PRIMARY KEY,
    thumbprint      TEXT    NOT NULL, -- of the identity key
    model           TEXT    NOT NULL,
    serial          TEXT,
    firmware        TEXT    NOT NULL,
    fingerprint     TEXT    NOT NULL,
    label           TEXT    NOT NULL,
    address         TEXT    NOT NULL,
    asked_at_s      INTEGER NOT NULL,
    seen_at_s       INTEGER NOT NULL, -- the box's last poll
    approval        TEXT    NOT NULL, -- not asked | waiting | yes | no
    decided_by      TEXT    NOT NULL,
    code_hash       BLOB    UNIQUE,   -- of the pairing code; NULL once it was used
    code_sealed     BLOB,             -- to show the same code at the next poll
    code_expires_at_s INTEGER NOT NULL, -- when it was used, once it was
    last_code_hash  BLOB,             -- of the code before, or of the one that was used: who types it is told so
    webhook         TEXT    NOT NULL, -- not asked | waiting | yes | no
    webhook_policy  TEXT    NOT NULL, -- the policy that admitted, as the webhook is told
    webhook_reason  TEXT    NOT NULL,
    webhook_tags    TEXT    NOT NULL, -- separated by a space
    webhook_attempt INTEGER NOT NULL,
    webhook_next_at_s INTEGER NOT NULL
) STRICT;
CREATE INDEX admission_request_webhook ON admission_request (model, webhook_next_at_s) WHERE webhook = 'waiting';
CREATE INDEX admission_request_serial ON admission_request (serial) WHERE serial IS NOT NULL;
CREATE INDEX admission_request_last_code ON admission_request (last_code_hash) WHERE last_code_hash IS NOT NULL;
CREATE INDEX admission_request_by_key ON admission_request (thumbprint);
CREATE INDEX admission_request_seen ON admission_request (seen_at_s);
CREATE INDEX admission_request_asked ON admission_request (asked_at_s, txid);
CREATE INDEX admission_request_person ON admission_request (asked_at_s, approval) WHERE approval = 'waiting';

-- SHA-256 of the bytes that a box's kernel gave at a start, before anything was mixed in. Two equal ones: it repeats.
CREATE TABLE canary (
    sha256          TEXT    NOT NULL,
    device_id       TEXT    NOT NULL,
    boot            INTEGER NOT NULL, -- the start that had it: said again by the same start it proves nothing
    model           TEXT    NOT NULL,
    seen_at_s       INTEGER NOT NULL,
    PRIMARY KEY (sha256, device_id, boot)
) STRICT;
CREATE INDEX canary_by_time ON canary (seen_at_s);

-- What HQ holds against a model until a person has dealt with it, such as a generator that repeats.
CREATE TABLE model_mark (
    model           TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    at_s            INTEGER NOT NULL,
    data            TEXT    NOT NULL,
    PRIMARY KEY (model, kind)
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

-- The newest certificate of each identity, so that what is due is counted without looking at all the old ones.
CREATE TABLE newest_certificate (
    device_id       TEXT    PRIMARY KEY REFERENCES device (id),
    issued_at_s     INTEGER NOT NULL,
    due_s           INTEGER NOT NULL, -- when renewal falls due
    late_s          INTEGER NOT NULL, -- when it is late
    not_after_s     INTEGER NOT NULL
) STRICT;
CREATE INDEX newest_certificate_due ON newest_certificate (due_s, late_s, not_after_s, device_id);
CREATE INDEX newest_certificate_end ON newest_certificate (not_after_s);
CREATE INDEX newest_certificate_late ON newest_certificate (late_s, device_id);

-- Challenge values that the zone answers; persisted before the CA is told, swept when their order ends.
CREATE TABLE challenge_txt (
    order_id        TEXT    NOT NULL,
    label           TEXT    NOT NULL,
    value           TEXT    NOT NULL,
    PRIMARY KEY (order_id, value)
) STRICT;
CREATE INDEX challenge_txt_by_label ON challenge_txt (label, value);

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

-- TXT values at `_validation-persist` below every box (dns-persist-01), as the accounts at the issuers want them.
CREATE TABLE persist_record (
    issuer          TEXT    NOT NULL,
    value           TEXT    NOT NULL,
    PRIMARY KEY (issuer, value)
) STRICT;

-- Labels whose content in the zone changed, for zones in other processes and on other servers; else not written.
CREATE TABLE zone_change (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    label           TEXT    NOT NULL
) STRICT;

-- How far something about the zone has come: `serial` (no SOA had a higher one), `pushed <server>` (zone_change.number).
CREATE TABLE zone_place (
    name            TEXT    PRIMARY KEY,
    number          INTEGER NOT NULL
) STRICT;

CREATE TABLE quota (
    bucket          TEXT    PRIMARY KEY,
    tat_ms          INTEGER NOT NULL
) STRICT;
CREATE INDEX quota_idle ON quota (tat_ms);

-- Append only. `data` is a JSON object without secrets.
CREATE TABLE event (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    at_s            INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    device_id       TEXT,
    order_id        TEXT,
    data            TEXT    NOT NULL
) STRICT;
CREATE INDEX event_by_device ON event (device_id, id);
CREATE INDEX event_by_kind ON event (kind, id);
CREATE INDEX event_by_time ON event (at_s);
