"""Signed queries and transfers by dnspython, dig and kdig; the records of a transfer stay in their order.

Knows how each tool names what went wrong, judges nothing. A tool that says it could not verify is an error here.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.tsig

from otscert.zones.tsig import TsigKey
from tests.harness.parts import require_part
from tests.zone.reply import Record
from tests.zone.served import HOST, ORIGIN

KEY = TsigKey(name="secondary", algorithm="hmac-sha256", secret=b"a secret of thirty-two octets !!")
FAILED = "failed"
"""What dig says of every transfer that is refused."""
_WITHIN_S = 10
_PEER_ERRORS: dict[type[dns.tsig.PeerError], str] = {
    dns.tsig.PeerBadKey: "BADKEY",
    dns.tsig.PeerBadSignature: "BADSIG",
    dns.tsig.PeerBadTime: "BADTIME",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What came back: "" or the error's name (TSIG's before the message's), the records, and whether it was signed.

    `signed` None: dnspython does not tell it of an error.
    """

    error: str
    records: Sequence[Record] = ()
    signed: bool | None = None


def by_dnspython(port: int, key: TsigKey | None, rtype: str, serial: int | None) -> Came:
    keyring = {} if key is None else {dns.name.from_text(key.name): _key(key)}
    try:
        came = (
            list(
                dns.query.xfr(
                    HOST,
                    ORIGIN,
                    rtype,
                    port=port,
                    keyring=keyring or None,
                    serial=serial or 0,
                    timeout=_WITHIN_S,
                    relativize=False,
                    raise_on_serial_went_backwards=False,
                )
            )
            if rtype in ("AXFR", "IXFR")
            else [_asked(port, keyring, rtype)]
        )
    except dns.query.TransferError as error:
        return Came(error=dns.rcode.to_text(error.rcode))
    except dns.tsig.PeerError as error:
        return Came(error=_PEER_ERRORS[type(error)])
    records = [
        Record(str(rrset.name), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), str(each))
        for message in came
        for rrset in message.answer
        for each in rrset
    ]
    rcode = dns.rcode.to_text(came[0].rcode())
    return Came(error="" if rcode == "NOERROR" else rcode, records=records, signed=all(each.had_tsig for each in came))


def by_dig(port: int, key: TsigKey | None, rtype: str, serial: int | None) -> Came:
    line = ["+tries=1", f"+timeout={_WITHIN_S}", "+noedns", "+nocookie", "+ignore", *_signing(key)]
    text = _run("dig", line, port, rtype, serial)
    return _read(text, FAILED if "Transfer failed" in text else "")


def by_kdig(port: int, key: TsigKey | None, rtype: str, serial: int | None) -> Came:
    line = ["+retry=0", f"+timeout={_WITHIN_S}", "+noedns", "+class", *_signing(key)]
    text = _run("kdig", line, port, rtype, serial)
    refused = re.search(r"replied with error '(\w+)'", text)
    status = re.search(r"status: (\w+)", text)
    error = refused[1] if refused else status[1] if status and status[1] != "NOERROR" else ""
    return _read(text, error)


TOOLS: dict[str, Callable[[int, TsigKey | None, str, int | None], Came]] = {
    "dnspython": by_dnspython,
    "dig": by_dig,
    "kdig": by_kdig,
}


def _asked(port: int, keyring: dict[dns.name.Name, dns.tsig.Key], rtype: str) -> dns.message.Message:
    query = dns.message.make_query(ORIGIN, rtype)
    if keyring:
        query.use_tsig(keyring)
    return dns.query.udp(query, HOST, port=port, timeout=_WITHIN_S)


def _key(key: TsigKey) -> dns.tsig.Key:
    return dns.tsig.Key(key.name, key.secret, key.algorithm)


def _signing(key: TsigKey | None) -> list[str]:
    return [] if key is None else ["-y", f"{key.algorithm}:{key.name}:{base64.b64encode(key.secret).decode()}"]


def _run(tool: str, options: list[str], port: int, rtype: str, serial: int | None) -> str:
    part = require_part(tool)
    line = [str(part.path), f"@{HOST}", "-p", str(port), *options]
    line += ["-t", rtype if serial is None else f"{rtype}={serial}", "-q", ORIGIN]
    # Kdig's exit status is 1 where a transfer is refused.
    ended = subprocess.run(
        line,
        env={**os.environ, **part.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=3 * _WITHIN_S,
    )
    return ended.stdout


def _read(text: str, error: str) -> Came:
    records, signed, tsig_error = [], False, ""
    for line in text.splitlines():
        if not line.strip() or line.startswith(";"):
            continue
        name, ttl, rdclass, rtype, data = line.split(None, 4)
        if rtype == "TSIG":
            # algorithm, time, fudge, size of the MAC, the MAC where there is one, id, error, size of what follows.
            words = data.split()
            signed = words[3] != "0"
            tsig_error = next(word for word in words[4:] if word == "NOERROR" or word.startswith("BAD"))
            continue
        records.append(Record(name, int(ttl), rtype, str(dns.rdata.from_text(rdclass, rtype, data))))
    if tsig_error not in ("", "NOERROR"):
        error = tsig_error
    unverified = "verif" in text or "validated" in text
    return Came(error=error or ("not verified" if unverified else ""), records=records, signed=signed)
