"""What a configuration allows that its maker may not have meant: warnings, never errors (`config` refuses those).

Looks at values and at the modes of files. Asks no network.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from otscert.config import Config
from otscert.domain.admission import Model, Policy
from otscert.notify.channel_config import Security
from otscert.ops.doctor_finding import Finding, warning
from otscert.ops.doctor_keys import leaf_names
from otscert.pki.files import PkiError, PkiFolder

_DNS_PORT = 53


def config_warnings(config: Config) -> list[Finding]:
    """Return what a careful operator would ask about; an empty list is the good answer."""
    return [*setting_warnings(config), *file_warnings(config)]


def setting_warnings(config: Config) -> list[Finding]:
    """Return what the settings alone make one ask."""
    return [
        *_models(config),
        *_issuers(config),
        *_listeners(config),
        *_zone(config),
        *_secondaries(config),
        *_processes(config),
        *_glue(config),
        *_answering(config),
        *_public_url(config),
        *_alerts(config),
    ]


def _alerts(config: Config) -> Iterator[Finding]:
    if not config.alerts.names:
        yield warning(
            "alerts",
            "nobody is told when something is wrong",
            why="a renewal that fails is then seen by those who look (otscert alerts, Prometheus), and by nobody else",
            mend="set alerts.email_to, email_from and smtp_host, or another channel of docs/alerts.md",
        )
    mail = config.alerts.mail
    if mail is not None and mail.security is Security.NONE and not _is_this_machine(mail.host):
        yield warning(
            "alerts.smtp_security",
            f"e-mails go to {mail.host} without TLS",
            why="who is on the way can read and change them",
            mend='set alerts.smtp_security to "starttls" or "tls"',
        )


def _is_this_machine(host: str) -> bool:
    """Whether it is this machine; a name of another one may be anywhere."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _models(config: Config) -> Iterator[Finding]:
    for name, model in config.models.items():
        if model.addresses.allow_loopback:
            yield warning(
                f"model.{name}.allow_loopback",
                f"model {name} lets loopback addresses into DNS",
                why="a page could then reach programs on its visitor's own machine under a trusted name",
                mend=f"take model.{name}.allow_loopback out; it is for demo and tests",
            )
        yield from _policies(config, name, model)
        if Policy.OPEN in model.policies:
            yield warning(
                f"model.{name}.policies",
                f"model {name} admits every box that asks (policy open)",
                why="anybody can take names in your zone and spend the CA's limits, within quotas",
                mend=f"use a claim token: model.{name}.policies and model.{name}.token_file",
            )


def _policies(config: Config, name: str, model: Model) -> Iterator[Finding]:
    """Warn of policies that can never admit, and of lists that are not what they look like."""
    policies = model.policies
    if not policies:
        yield warning(
            f"model.{name}.policies.none",
            f"model {name} has no policy",
            why="nobody is let in as this model",
            mend=f"name who is: otscert model set {name} policies=factory",
        )
    after_open = policies[policies.index(Policy.OPEN) + 1 :] if Policy.OPEN in policies else ()
    if Policy.OPEN in policies and Policy.APPROVAL in policies:
        yield warning(
            f"model.{name}.policies.approval",
            f"model {name} has the policies approval and open",
            why="open lets every box in, so no person is ever asked",
            mend=f"take one of them out of model.{name}.policies",
        )
    elif after_open:
        yield warning(
            f"model.{name}.policies.order",
            f"model {name} has {', '.join(after_open)} after open",
            why="open lets every box in, so what comes after it is never looked at, nor put on record",
            mend=f"put open at the end of model.{name}.policies",
        )
    if Policy.FACTORY in policies and not config.manifest_keys and not config.factory_key.exists():
        yield warning(
            f"model.{name}.policies.factory",
            f"model {name} has the policy factory, and HQ trusts no manifest key",
            why="no manifest can be imported, so no unit is known and nobody is let in by it",
            mend="stamp units here (otscert factory stamp makes a key), or set factory.manifest_keys",
        )


def _issuers(config: Config) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for issuer in config.issuers:
        other = seen.setdefault(issuer.directory_url, issuer.name)
        if other != issuer.name:
            yield warning(
                f"issuer.{issuer.name}.directory_url.twice",
                f"the issuers {other} and {issuer.name} are the same CA",
                why="when it is down, both are; and its limits count by domain, not by account",
                mend="take one of them out, or give the second one another CA",
            )
        if not issuer.terms_agreed:
            yield warning(
                f"issuer.{issuer.name}.terms_agreed",
                f"the terms of service of issuer {issuer.name} are not agreed to",
                why="a CA that has terms registers no account without that, so no box gets a certificate",
                mend=f"read them (otscert issuer test shows the URL) and set issuer.{issuer.name}.terms_agreed",
            )
        if "staging" in (urlsplit(issuer.directory_url).hostname or ""):
            yield warning(
                f"issuer.{issuer.name}.directory_url",
                f"issuer {issuer.name} is a staging CA",
                why="browsers do not trust what it issues",
                mend="use the CA's production directory, under another issuer name, once boxes come up",
            )


def _processes(config: Config) -> Iterator[Finding]:
    """A database that processes can share, and nobody said which of them answer the zone."""
    if config.database_url and not config.zone.check_servers:
        yield warning(
            "zone.check_servers",
            "zone.check_servers is empty, and database_url lets several HQ processes share the work",
            why="a worker asks its own DNS server only whether a challenge is served, while the CA may ask another one;"
            " a worker without the role dns does not start",
            mend="name host:port of every process with the role dns, also if there is only one (docs/processes.md)",
        )


def _listeners(config: Config) -> Iterator[Finding]:
    for setting, endpoints, who in (
        ("listen.device", config.listen_device, "boxes reach"),
        ("listen.dns", config.listen_dns, "resolvers and the CA reach"),
    ):
        if all(_is_loopback(host) for host, _ in endpoints):
            yield warning(
                setting,
                f"{setting} names loopback addresses only",
                why=f"nothing that {who} from outside this machine is served, unless something forwards to it",
                mend=f"name a public address, or 0.0.0.0 and [::], in {setting}",
            )
    for host, port in config.listen_metrics:
        if _is_everybodys(host):
            yield warning(
                "listen.metrics",
                f"listen.metrics has {host}:{port}, which is not an address of loopback or of a private network",
                why="metrics are told without a password to everybody who reaches the address",
                mend="name loopback or an address of the management network",
            )
    if all(port != _DNS_PORT for _, port in config.listen_dns):
        yield warning(
            "listen.dns.port",
            "no DNS listener has port 53",
            why="name servers are asked on port 53 and nowhere else",
            mend="listen on port 53 (CAP_NET_BIND_SERVICE), or forward it, UDP and TCP",
        )


def _zone(config: Config) -> Iterator[Finding]:
    # Where others hold the zone, and HQ none, its primary says which name servers there are.
    if config.served_zone and len(config.zone.name_servers) < 2:
        yield warning(
            "zone.name_servers",
            f"the zone {config.served_zone} has one name server, {config.zone.name_servers[0]}",
            why="RFC 1034 4.1 asks for two, some parent zones insist, and one that is down takes every box's name away",
            mend="add a second address or machine to zone.name_servers",
        )


def _secondaries(config: Config) -> Iterator[Finding]:
    """Secondaries that answer in public, of which nobody waits until they have a challenge."""
    servers = sorted({server for each in config.dns.secondaries for server in each.servers})
    missing = [_written(server) for server in servers if server not in config.zone.check_servers]
    if missing:
        named = [f'"{each}"' for each in (*map(_written, config.zone.check_servers), *missing)]
        yield warning(
            "zone.check_servers.secondaries",
            f"zone.check_servers does not name the secondary {', '.join(missing)}",
            why="a CA that asks it may be told of a challenge before it has it: that order fails and counts as one",
            mend=f"zone.check_servers = [{', '.join(named)}], and every other public name server",
        )


def _written(server: tuple[str, int]) -> str:
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _answering(config: Config) -> Iterator[Finding]:
    """Settings of the name server that are right in a laboratory only."""
    dns, public = config.dns, any(_is_everybodys(host) for host, _ in config.listen_dns)
    if dns.rate_limit_per_s == 0 and public and dns.updates is None:
        yield warning(
            "dns.rate_limit_per_s",
            "the name server answers any number of questions from one network (dns.rate_limit_per_s = 0)",
            why="with forged senders it can be used to flood somebody else",
            mend="take dns.rate_limit_per_s out: validators and resolvers do not reach the default",
        )
    if dns.log_one_in == 1:
        yield warning(
            "dns.log_one_in",
            "every question to the name server is logged (dns.log_one_in = 1)",
            why="the log grows with each of them, and says who looks for which box",
            mend="set it to 1000 or so, or take it out, once you have seen what you were looking for",
        )
    if dns.share_port and not config.database_url:
        yield warning(
            "dns.share_port",
            "dns.share_port is set, and HQ is alone: its database is SQLite",
            why="the port is shared with nobody of HQ's, but other programs of the same user could take it as well",
            mend="take dns.share_port out, or set database_url (docs/processes.md)",
        )


def _glue(config: Config) -> Iterator[Finding]:
    for host, addresses in config.zone.server_addresses.items():
        inside = [str(address) for address in addresses if not address.is_global]
        if inside:
            yield warning(
                "zone.server_addresses",
                f"the name server {host} has the address {', '.join(inside)}, which is not public",
                why="resolvers on the Internet cannot reach it, nor can the CA",
                mend="name the address that the Internet sees, and forward UDP and TCP port 53 from there to HQ",
            )


def _public_url(config: Config) -> Iterator[Finding]:
    pki = PkiFolder(folder=config.pki_dir)
    try:
        names = leaf_names(pki.tls())
    except PkiError as error:
        yield warning(
            "public_url",
            f"HQ's own TLS certificate cannot be looked at: {error}",
            why="boxes talk to HQ only under its pinned root",
            mend="otscert init makes the keys of a new HQ; an old HQ needs its folder back",
        )
        return
    if config.public_host not in names:
        key_here = (config.pki_dir / "root.key").exists()
        yield warning(
            "public_url",
            f"HQ's TLS certificate is for {', '.join(sorted(names))}, not for {config.public_host}",
            why="boxes check the host name, so none of them could call",
            mend="otscert hq-root sign makes a new one; HQ does so when it starts, while root.key has no passphrase"
            if key_here
            else "otscert hq-root request asks for one where root.key is",
        )


def file_warnings(config: Config) -> Iterator[Finding]:
    """Yield a warning for each secret that other users of this machine can read."""
    keys = sorted(config.pki_dir.glob("*")) if config.pki_dir.is_dir() else []
    secret = [path for path in keys if path.name != "root.pem"]
    for path in (*config.secret_files, *secret, *(path for path in (config.database,) if path.exists())):
        yield from _mode(path)


def _mode(path: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield warning(
            "secrets",
            f"{path} has mode {mode:04o}",
            why="other users of this machine can read a secret",
            mend=f"chmod 600 {path}",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_everybodys(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False  # a name: whoever gave it knows where it leads
    return address.is_unspecified or address.is_global
