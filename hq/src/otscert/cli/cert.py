"""`otscert cert`: which certificates there are, what becomes of one, and how to revoke it."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from otscert.cli import database, show
from otscert.cli.device_lookup import find_device
from otscert.cli.errors import CommandFailed
from otscert.cli.lifecycle import ANY_ID
from otscert.cli.options import ConfigOption, JsonOption, LimitOption, examples, load_config
from otscert.store.certificates import Certificate
from otscert.store.transaction import Transaction

CertificateArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The certificate's SHA-256 or serial number; or a box's id, label, name or serial number."
    ),
]
ReasonOption = Annotated[
    str,
    typer.Option(
        "--reason",
        metavar="REASON",
        help="unspecified, keyCompromise (others have the key), superseded, or cessationOfOperation (nobody uses the"
        " name any more).",
    ),
]
WhyOption = Annotated[str, typer.Option("--why", help="In your words, for the record and for the box's log.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask whether you are sure.")]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="ID", help="Only of this box, those that have ended, too.")
]
AfterOption = Annotated[
    str, typer.Option("--after", metavar="SHA256", help="Go on after this one, the last one of the page before.")
]


def commands() -> typer.Typer:
    group = typer.Typer(help="The certificates of the boxes.", no_args_is_help=True)
    group.command(
        "list",
        short_help="List certificates, those that end next first.",
        epilog=examples("otscert cert list --limit 20", "otscert cert list --device nifty-babbage-7k2q --json"),
    )(list_certificates)
    group.command(
        "show",
        short_help="One certificate, and what becomes of it.",
        context_settings=ANY_ID,
        epilog=examples("otscert cert show 03ab0c51f2", "otscert cert show nifty-babbage-7k2q --json"),
    )(show_certificate)
    group.command(
        "revoke",
        short_help="Have the CA revoke a certificate.",
        context_settings=ANY_ID,
        epilog=examples(
            "otscert cert revoke nifty-babbage-7k2q --reason keyCompromise",
            "otscert cert revoke 03ab0c51f2 --reason superseded --yes",
        ),
    )(revoke)
    return group


def list_certificates(
    config: ConfigOption = None,
    device: DeviceOption = "",
    limit: LimitOption = 100,
    after: AfterOption = "",
    *,
    as_json: JsonOption = False,
) -> None:
    """List the certificates that are valid, the next one to end first; or all that one box had, the newest first."""
    from otscert.cli.certificate_lookup import SHOWN, state_of, view  # noqa: PLC0415 - HQ's use cases are behind it: slow

    loaded, now_s = load_config(config), int(time.time())

    def select(transaction: Transaction) -> list[dict[str, Any]]:
        if device:
            found = transaction.certificates.all_of(find_device(transaction, loaded, device).id, limit=limit + 1)
        else:
            last = _last(transaction, after)
            found = transaction.certificates.ending(from_s=now_s, after=last, limit=limit + 1)
        return [view(transaction, each, now_s=now_s) for each in found]

    documents = database.read(loaded, select)
    page, more = documents[:limit], len(documents) > limit
    if as_json:
        show.print_json({"certificates": page, "after": page[-1]["sha256"] if more else None})
        return
    if not page:
        typer.echo("No certificate is valid." if not device else "It has had no certificate yet.", err=True)
        return
    rows = [
        (each["label"] or "", each["sha256"][:SHOWN], each["issuer"], each["not_after"], state_of(each))
        for each in page
    ]
    show.print_table(("label", "sha256 begins", "issuer", "ends", "state"), rows)
    if more:
        typer.echo(
            f"There are more: --after {page[-1]['sha256']}" if not device else "There are more: --limit", err=True
        )


def show_certificate(
    certificate: CertificateArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Show a certificate; of a box, its newest one."""
    from otscert.cli.certificate_lookup import find_certificates, state_of, view  # noqa: PLC0415 - see above

    loaded, now_s = load_config(config), int(time.time())
    document = database.read(
        loaded,
        lambda transaction: view(transaction, find_certificates(transaction, loaded, certificate)[0], now_s=now_s),
    )
    if as_json:
        show.print_json(document)
        return
    renewal, revocation = document["renewal"], document["revocation"]
    fields = {
        "state": state_of(document),
        "box": f"{document['label']}, id {document['device']}",
        "serial number": document["serial"],
        "issuer": document["issuer"],
        "valid": f"{document['not_before']} to {document['not_after']}",
        "key": document["key_sha256"],
        "order": document["order"],
        "first served": document["first_served_at"] or "not seen yet",
        "renewal": f"{renewal['lane']}, {renewal['at']}: {renewal['reason']}",
        "incident": document["incident"] or "none",
        "revocation": "not asked for" if revocation is None else _revocation(revocation),
    }
    show.print_fields(f"Certificate {document['sha256']}", fields)


def revoke(
    certificate: CertificateArgument,
    reason: ReasonOption,
    config: ConfigOption = None,
    why: WhyOption = "",
    *,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have the CA revoke a certificate; of a box, all that are valid. A box that uses one is told to get another."""
    from otscert.cli import cert_revoke  # noqa: PLC0415 - see above

    cert_revoke.revoke(config, certificate, reason, why, yes=yes, as_json=as_json)


def _last(transaction: Transaction, sha256: str) -> Certificate | None:
    last = transaction.certificates.get(sha256) if sha256 else None
    if sha256 and last is None:
        raise CommandFailed(f"HQ has no certificate with the SHA-256 {show.printable(sha256)}: begin without --after")
    return last


def _revocation(revocation: dict[str, Any]) -> str:
    if revocation["done_at"] is None:
        return "HQ asks the CA" + (f"; the last try failed: {revocation['problem']}" if revocation["problem"] else "")
    return f"not revoked: {revocation['problem']}" if revocation["problem"] else f"revoked at {revocation['done_at']}"
