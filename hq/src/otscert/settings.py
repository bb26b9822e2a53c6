"""Every setting of HQ: its name with the unit, its kind, its default and a sentence. docs/settings.md is made from it.

Knows what can be set and how a text becomes a value. Does not know where texts come from (`config`) or what uses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Kind(Enum):
    TEXT = "text"
    NUMBER = "whole number"
    SWITCH = "true or false"
    LIST = "list of texts"
    PATH = "path"
    SECRET = "secret"  # noqa: S105 - the kind's name
    ADDRESSES = "table of host name = list of addresses"


class Required(Enum):
    """The default of a setting that has none."""

    REQUIRED = "required"


REQUIRED = Required.REQUIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """`name` is the dotted TOML key; a `*` stands for the name of an issuer or a model."""

    name: str
    kind: Kind
    default: Any
    sentence: str

    @property
    def environment(self) -> str:
        """The environment variable that overrides it (`*` stays to be filled in)."""
        return "OTSCERT_" + self.name.replace(".", "_").upper()


def _setting(name: str, kind: Kind, default: Any, sentence: str) -> Setting:
    return Setting(name=name, kind=kind, default=default, sentence=sentence)


SETTINGS: tuple[Setting, ...] = (
    _setting(
        "data_dir",
        Kind.PATH,
        "/var/lib/otscert",
        "The folder of HQ's database and keys; relative to the configuration file.",
    ),
    _setting(
        "database_url",
        Kind.SECRET,
        "",
        "PostgreSQL as the database, postgresql://user:password@host/database; empty: SQLite in data_dir.",
    ),
    _setting(
        "public_url",
        Kind.TEXT,
        REQUIRED,
        "The URL at which boxes reach the device API; their signatures name it, so it is what firmware is given.",
    ),
    _setting(
        "trusted_proxies",
        Kind.LIST,
        [],
        "Addresses or networks of reverse proxies; only behind these is the last X-Forwarded-For entry believed.",
    ),
    _setting(
        "checkin_s",
        Kind.NUMBER,
        21_600,
        "How often a box calls when nothing is due, in seconds; a fiftieth of its certificate's life at the latest.",
    ),
    _setting("zone.origin", Kind.TEXT, REQUIRED, "The DNS zone that is delegated to HQ and used for nothing else."),
    _setting(
        "zone.name_servers",
        Kind.LIST,
        [],
        "Host names of the zone's name servers, as the parent zone lists them; empty: ns1 below the zone.",
    ),
    _setting(
        "zone.server_addresses",
        Kind.ADDRESSES,
        {},
        "Public addresses of those name servers whose names lie inside the zone (the glue).",
    ),
    _setting(
        "zone.public_suffix",
        Kind.TEXT,
        "auto",
        "Whether CAs take the zone for a public suffix, each box being a registered domain of its own: true, false, or"
        " auto (as HQ's copy of the Public Suffix List has it).",
    ),
    _setting("zone.contact", Kind.TEXT, "", "The zone's contact as a DNS name; empty: hostmaster below the zone."),
    _setting(
        "zone.check_servers",
        Kind.LIST,
        [],
        "host:port of every name server to ask before a CA is told; empty: HQ's own DNS listeners.",
    ),
    _setting(
        "listen.device", Kind.LIST, ["127.0.0.1:8443"], "host:port of the device API (HTTPS under HQ's own root)."
    ),
    _setting("listen.dns", Kind.LIST, ["127.0.0.1:5353"], "host:port of the DNS server (UDP and TCP)."),
    _setting(
        "listen.metrics",
        Kind.LIST,
        [],
        "host:port of the metrics for Prometheus, on loopback or a management network: plain HTTP, no password. Empty:"
        " none.",
    ),
    _setting(
        "dns.rate_limit_per_s",
        Kind.NUMBER,
        200,
        "UDP answers a second to one network (an IPv4 /24, an IPv6 /56) without a DNS cookie; beyond, answers say that"
        " TCP is to be used. 0: no limit.",
    ),
    _setting(
        "dns.share_port",
        Kind.SWITCH,
        default=False,
        sentence="Let several processes of this machine listen on the same port, each taking a share (SO_REUSEPORT).",
    ),
    _setting(
        "dns.log_one_in",
        Kind.NUMBER,
        0,
        "One DNS question in so many is logged, as dns.question with the client's network (an IPv4 /24, an IPv6 /56),"
        " never its address; 0: none.",
    ),
    _setting(
        "tsig.*.secret", Kind.SECRET, "", "Secret of the TSIG key (RFC 8945) whose name in messages is NAME, as base64."
    ),
    _setting("tsig.*.algorithm", Kind.TEXT, "hmac-sha256", "hmac-sha256, hmac-sha384 or hmac-sha512."),
    _setting(
        "secondary.*.servers",
        Kind.LIST,
        [],
        "host:port at which a secondary name server takes NOTIFY; it transfers the zone from HQ (AXFR, IXFR).",
    ),
    _setting("secondary.*.key", Kind.TEXT, REQUIRED, "The TSIG key that signs NOTIFY and the secondary's transfers."),
    _setting(
        "secondary.*.computes_names",
        Kind.SWITCH,
        default=False,
        sentence="The secondary computes names that say an address by itself, as Knot's mod-synthrecord does.",
    ),
    _setting(
        "updates.servers",
        Kind.LIST,
        [],
        "host:port of the primary name server that holds the zone in HQ's place and takes updates (RFC 2136). Empty:"
        " HQ serves the zone itself.",
    ),
    _setting("updates.key", Kind.TEXT, "", "The TSIG key that signs these updates."),
    _setting(
        "updates.challenge_zone",
        Kind.TEXT,
        "",
        "A zone beside zone.origin that HQ serves at listen.dns, with zone.name_servers: the names of challenges are"
        " aliases (CNAME) into it. Empty: challenges are sent as updates, too.",
    ),
    _setting(
        "updates.challenge_servers",
        Kind.LIST,
        [],
        "host:port of every name server of updates.challenge_zone, asked before a CA is told. Empty: the process asks"
        " its own.",
    ),
    _setting("limits.hellos_per_address_per_hour", Kind.NUMBER, 120, "Hellos of unknown boxes from one address."),
    _setting("limits.hellos_per_model_per_hour", Kind.NUMBER, 20_000, "Hellos of unknown boxes of one model."),
    _setting(
        "limits.open_admissions_per_day", Kind.NUMBER, 2000, "New boxes of all models together by the policy open."
    ),
    _setting("limits.orders_per_device_per_week", Kind.NUMBER, 4, "Renewals of one box; the CA's own limit is 5."),
    _setting(
        "stale_days",
        Kind.NUMBER,
        90,
        "Days after which a box that did not call leaves DNS and gets no orders; it comes back by calling.",
    ),
    _setting(
        "factory.manifest_keys",
        Kind.LIST,
        [],
        "Public keys (Ed25519, base64url) whose manifests are imported, beside the one of factory.key in data_dir.",
    ),
    _setting("factory.label_url", Kind.TEXT, "", "The URL that QR codes on labels begin with; empty: public_url."),
    _setting(
        "alerts.email_to",
        Kind.LIST,
        [],
        "Addresses that are told by e-mail when something is wrong; empty: nobody is.",
    ),
    _setting("alerts.email_from", Kind.TEXT, "", "The sender of these e-mails, such as OTS Cert <hq@example.com>."),
    _setting("alerts.smtp_host", Kind.TEXT, "", "The mail server that takes them."),
    _setting("alerts.smtp_port", Kind.NUMBER, 0, "Its port; 0: 465 for tls, 587 for starttls, 25 for none."),
    _setting(
        "alerts.smtp_security",
        Kind.TEXT,
        "starttls",
        "starttls, tls (from the first byte), or none: that one for a mail server on this machine.",
    ),
    _setting("alerts.smtp_user", Kind.TEXT, "", "User for the log-in; empty: HQ does not log in."),
    _setting("alerts.smtp_password", Kind.SECRET, "", "Password for the log-in."),
    _setting("alerts.smtp_trust_file", Kind.PATH, "", "PEM roots for the mail server's TLS instead of the system's."),
    _setting("alerts.webhook_url", Kind.TEXT, "", "https:// URL that is sent every alert as signed JSON. Empty: none."),
    _setting("alerts.webhook_secret", Kind.SECRET, "", "Key of the HMAC-SHA256 that signs them."),
    _setting(
        "alerts.webhook_networks",
        Kind.LIST,
        [],
        "Private networks in which that server may live; without them only public addresses are called.",
    ),
    _setting("alerts.webhook_trust_file", Kind.PATH, "", "PEM roots for its HTTPS instead of the system's."),
    _setting(
        "alerts.apprise_urls",
        Kind.SECRET,
        "",
        "URLs of services that Apprise knows, one a line; needs otscert[apprise]. Lines with # are comments.",
    ),
    _setting(
        "alerts.digest_at",
        Kind.TEXT,
        "off",
        "When a daily digest is sent, as HH:MM in UTC, also when all is well; off: never.",
    ),
    _setting(
        "alerts.away_boxes",
        Kind.NUMBER,
        1,
        "From how many boxes on you are told that they do not call while their certificates near their end; 0: never.",
    ),
    _setting("log.level", Kind.TEXT, "info", "debug, info, warning or error."),
    _setting("log.format", Kind.TEXT, "text", "text for people, json for machines."),
    _setting(
        "issuers",
        Kind.LIST,
        [],
        "Issuers that new orders go to, the preferred one first; empty: all, in the order of their tables in the file.",
    ),
    _setting("issuer.*.directory_url", Kind.TEXT, REQUIRED, "The ACME directory of the CA."),
    _setting("issuer.*.contact", Kind.LIST, [], "Contact URIs of the account, such as mailto:ops@example.com."),
    _setting(
        "issuer.*.terms_agreed",
        Kind.SWITCH,
        default=False,
        sentence="You have read the CA's terms of service and agree.",
    ),
    _setting("issuer.*.profile", Kind.TEXT, "tlsserver", "The certificate profile, where the CA offers it."),
    _setting("issuer.*.trust_file", Kind.PATH, "", "PEM roots for the CA's own HTTPS instead of the system's."),
    _setting("issuer.*.eab_kid", Kind.TEXT, "", "Key id of the external account binding, where the CA wants one."),
    _setting("issuer.*.eab_hmac_key", Kind.SECRET, "", "Key of the external account binding, base64url."),
    _setting(
        "issuer.*.caa_identity",
        Kind.TEXT,
        "",
        "The CA's name in CAA records; empty: what its directory says, and no CAA record when it says nothing.",
    ),
    _setting(
        "issuer.*.dns_persist",
        Kind.SWITCH,
        default=False,
        sentence="Answer dns-persist-01 where the CA offers it: _validation-persist records, and no change per order.",
    ),
    _setting(
        "issuer.*.preferred_root",
        Kind.TEXT,
        "",
        "Common name of the root below which the chain is wanted, where the CA offers several; else the CA's default.",
    ),
    _setting("issuer.*.max_in_flight", Kind.NUMBER, 100, "Orders at the CA at the same time."),
    _setting(
        "issuer.*.limits",
        Kind.TEXT,
        "auto",
        "Whose limits hold: auto (by the host of directory_url), letsencrypt, letsencrypt-staging, zerossl or none.",
    ),
    _setting(
        "issuer.*.orders_per_account",
        Kind.TEXT,
        "",
        "New orders of the account as the CA adjusted them, such as 1000/7d; none: no limit; empty: as limits has it.",
    ),
    _setting(
        "issuer.*.certificates_per_domain",
        Kind.TEXT,
        "",
        "Certificates of a registered domain as the CA adjusted them, such as 300/7d; none, or empty: as above.",
    ),
    _setting(
        "issuer.*.certificates_per_names",
        Kind.TEXT,
        "",
        "Certificates for exactly the same names, such as 5/7d; HQ spends four fifths. none, or empty: as above.",
    ),
    _setting(
        "issuer.*.failures_per_name",
        Kind.TEXT,
        "",
        "Failed validations of a name, such as 5/1h; HQ stops after three fifths. none, or empty: as above.",
    ),
    _setting(
        "model.*.policies",
        Kind.LIST,
        ["token"],
        "Admission policies in order: factory (stamped units), token, approval (a person), open.",
    ),
    _setting(
        "model.*.token",
        Kind.SECRET,
        "",
        "Claim tokens of the model's firmware, one a line; all are valid. Lines that begin with # are comments.",
    ),
    _setting("model.*.naming", Kind.TEXT, "opaque", "opaque (16 characters) or readable (two words and 4 characters)."),
    _setting(
        "model.*.networks",
        Kind.LIST,
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
        "Networks whose addresses may stand in DNS; parts of these or of 100.64.0.0/10, never public ones.",
    ),
    _setting(
        "model.*.allow_loopback",
        Kind.SWITCH,
        default=False,
        sentence="Allow loopback addresses in DNS; for demo and tests only.",
    ),
    _setting(
        "model.*.static_address",
        Kind.SWITCH,
        default=True,
        sentence="Publish the box's address; without it only names with an address in them work.",
    ),
    _setting(
        "model.*.computed_names",
        Kind.SWITCH,
        default=True,
        sentence="Answer names that say an address, 192-168-1-20 below the box's name; no other server can do that.",
    ),
    _setting(
        "model.*.global_ipv6",
        Kind.SWITCH,
        default=False,
        sentence="Publish a box's own global IPv6 address as well, once HQ saw it call from there.",
    ),
    _setting(
        "model.*.https_record",
        Kind.SWITCH,
        default=False,
        sentence="Publish an HTTPS record (RFC 9460) while the box serves its newest certificate, on port 443.",
    ),
    _setting("model.*.admissions_per_address_per_day", Kind.NUMBER, 20, "New boxes from one address by open or token."),
    _setting("model.*.admissions_per_model_per_day", Kind.NUMBER, 1000, "New boxes of the model by open or token."),
    _setting(
        "model.*.admissions_per_token_per_day", Kind.NUMBER, 1000, "New boxes of the model by one and the same token."
    ),
    _setting(
        "model.*.waiting_per_address_per_day",
        Kind.NUMBER,
        20,
        "Enrolments from one address that may ask for a person's approval.",
    ),
    _setting(
        "model.*.min_contribution",
        Kind.TEXT,
        "",
        "HQ's least contribution to a key: none, open or sealed; empty: sealed for a model with the policy factory"
        " alone, else open.",
    ),
    _setting(
        "model.*.min_source",
        Kind.TEXT,
        "starved",
        "The least source a box may name for its own half: starved, jitter, hwrng or secure-element.",
    ),
    _setting(
        "model.*.rekey_after_days",
        Kind.NUMBER,
        14,
        "Age at which a box's first certificate is replaced by one with a new key, unless HQ's contribution was sealed;"
        " 0: not before it renews.",
    ),
    _setting(
        "model.*.allow_rsa",
        Kind.SWITCH,
        default=False,
        sentence="Accept RSA keys; needs otscert[rsa] and min_contribution none: HQ's randomness cannot be in them.",
    ),
    _setting(
        "model.*.revoke_replaced",
        Kind.SWITCH,
        default=True,
        sentence="Revoke the certificate of a name that was taken back (reset, transfer), or leave it to expire.",
    ),
    _setting(
        "model.*.issuers",
        Kind.LIST,
        [],
        "Issuers of the model's certificates, the preferred one first; empty: as the setting issuers says.",
    ),
    _setting(
        "model.*.profile",
        Kind.TEXT,
        "",
        "Certificate profile of the model, at issuers that offer it; empty: the issuer's own profile.",
    ),
    _setting(
        "model.*.webhook_url",
        Kind.TEXT,
        "",
        "https:// URL that is asked about every box that a policy admitted; it may refuse or tag. Empty: none.",
    ),
    _setting("model.*.webhook_secret", Kind.SECRET, "", "Key of the HMAC-SHA256 that signs the questions."),
    _setting(
        "model.*.webhook_networks",
        Kind.LIST,
        [],
        "Private networks in which the webhook may live; without them only public addresses are called.",
    ),
    _setting("model.*.webhook_trust_file", Kind.PATH, "", "PEM roots for the webhook's HTTPS instead of the system's."),
)
