-- The schema of HQ's store, version 1. Times are Unix seconds (`_s`) or milliseconds (`_ms`); digests are raw bytes.
-- Portable to PostgreSQL: no rowid, no affinity tricks; STRICT is SQLite's way of keeping the promise.

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
    checkin_answer  BLOB              -- sealed: the last check-in's answer, for the repetition with a new seq
) STRICT;
CREATE INDEX device_by_model ON device (model, id);
CREATE INDEX device_by_serial ON device (serial) WHERE serial IS NOT NULL;

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
    label           TEXT    NOT NULL,
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
    seen_at_s       INTEGER NOT NULL
) STRICT;

CREATE INDEX seen_d0_by_time ON seen_d0 (seen_at_s);

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
    x_coordinate    BLOB    NOT NULL UNIQUE,
    device_id       TEXT    NOT NULL,
    kind            TEXT    NOT NULL, -- certificate | identity
    contribution    TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    seen_at_s       INTEGER NOT NULL
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
    certificate_sha256 TEXT
) STRICT;
CREATE INDEX cert_order_due ON cert_order (next_at_s) WHERE state NOT IN ('issued', 'failed');
CREATE INDEX cert_order_by_device ON cert_order (device_id, created_at_s);

CREATE TABLE certificate (
    sha256          TEXT    PRIMARY KEY, -- hex, of the leaf's DER
    device_id       TEXT    NOT NULL REFERENCES device (id),
    order_id        TEXT    NOT NULL UNIQUE REFERENCES cert_order (id),
    issuer          TEXT    NOT NULL,
    serial          TEXT    NOT NULL, -- hex
    spki_sha256     BLOB    NOT NULL,
    not_before_s    INTEGER NOT NULL,
    not_after_s     INTEGER NOT NULL,
    chain_pem       TEXT    NOT NULL,
    issued_at_s     INTEGER NOT NULL,
    served_at_s     INTEGER
) STRICT;
CREATE INDEX certificate_by_device ON certificate (device_id, issued_at_s);

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
    created_at_s    INTEGER NOT NULL
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
