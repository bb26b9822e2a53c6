"""`otscert hq-root`: HQ's own root, the next one, and new certificates below it, also with the root's key offline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from otscert.cli import show
from otscert.cli.hq_root_place import Keyring, Place, read_document, write_document
from otscert.cli.hq_root_view import print_root, root_view
from otscert.cli.options import ConfigOption, JsonOption, examples
from otscert.pki.files import PkiFolder
from otscert.pki.offline import install, make_request, sign_request
from otscert.pki.rotation import Stage, complete_preparation, finish, prepare, stage, switch

FolderOption = Annotated[
    Path | None,
    typer.Option(help="A folder with root.pem on a machine that is not HQ; else the folder of the configuration's HQ."),
]
KeyOption = Annotated[
    Path | None, typer.Option(help="The file of the root's key, when it is not in the folder (on a stick).")
]
PassphraseOption = Annotated[
    Path | None, typer.Option(help="A file (mode 0600) with the key's passphrase; else it is asked for.")
]
_RUNNING = "A running HQ takes it up within seconds."


def commands() -> typer.Typer:
    group = typer.Typer(help="HQ's own root: show it, rotate it, sign HQ's certificates.", no_args_is_help=True)
    group.command(
        "show",
        short_help="The root, how far its rotation is, and what hangs on it.",
        epilog=examples("otscert hq-root show", "otscert hq-root show --folder /media/safe/hq-root --json"),
    )(show_root)
    group.command(
        "rotate",
        short_help="Prepare the next root; then let it sign; then forget the old one.",
        epilog=examples("otscert hq-root rotate", "otscert hq-root rotate --switch", "otscert hq-root rotate --finish"),
    )(rotate)
    group.command(
        "sign",
        short_help="Sign new certificates for HQ, here or for another machine.",
        epilog=examples(
            "otscert hq-root sign",
            "otscert hq-root sign --request request.json --folder /media/safe/hq-root --out signed.json",
        ),
    )(sign)
    group.command(
        "request",
        short_help="Ask for certificates where the root's key is elsewhere.",
        epilog=examples("otscert hq-root request --out request.json"),
    )(request)
    group.command(
        "install",
        short_help="Use the certificates that were asked for.",
        epilog=examples("otscert hq-root install signed.json"),
    )(install_signed)
    return group


def show_root(config: ConfigOption = None, folder: FolderOption = None, *, as_json: JsonOption = False) -> None:
    """Show HQ's root, where its key is, how far a rotation has come, and HQ's certificates below it."""
    _tell(Place.of(config, folder).pki, as_json=as_json)


def rotate(
    config: ConfigOption = None,
    folder: FolderOption = None,
    root_key: KeyOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    to_next: Annotated[bool, typer.Option("--switch", help="Sign with the next root from now on.")] = False,
    forget_old: Annotated[
        bool, typer.Option("--finish", help="Forget the old root: firmware that pins it alone is lost.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --finish: do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Replace HQ's root without losing a box: prepare the next one, --switch to it, --finish the old one.

    Each step can be given again when it was cut off. In between, firmware that pins the old root, both, or the new one
    works.
    """
    if to_next and forget_old:
        raise typer.BadParameter("one step at a time", param_hint="--switch, --finish")
    place, keyring = Place.of(config, folder), Keyring(file=passphrase_file)
    pki = place.to_change()
    reached, now_s = stage(pki), int(time.time())
    if forget_old:
        if reached is Stage.SWITCHED and not yes:
            _confirm_finish()
        finish(pki)
        said = f"The old root is forgotten. Firmware pins {pki.pins_pem} from now on. {_RUNNING}"
    elif to_next and reached is Stage.SWITCHED:
        said = "The next root signs already."
    elif to_next:
        complete_preparation(pki)
        following = pki.root(ask=keyring.ask, key_file=root_key, name="root-next.pem")
        switch(pki, following, hosts=place.hosts, now_s=now_s)
        said = f"The next root signs from now on, and the old one vouches for it. {_RUNNING}"
    elif reached is Stage.STEADY:
        root = pki.root(ask=keyring.ask, key_file=root_key)
        prepare(pki, root, passphrase=keyring.used, now_s=now_s)
        said = f"The next root is ready; nothing changes until --switch. Pin both in firmware: {pki.pins_pem}"
    else:
        complete_preparation(pki)
        said = f"The next root was ready already. Pin both in firmware: {pki.pins_pem}"
    _tell(pki, as_json=as_json, said=said)


def sign(
    config: ConfigOption = None,
    folder: FolderOption = None,
    root_key: KeyOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    request_file: Annotated[
        Path | None, typer.Option("--request", help="Sign what another machine asked for, in this file.")
    ] = None,
    out: Annotated[Path, typer.Option(help="With --request: the file to write.")] = Path("signed.json"),
    as_json: JsonOption = False,
) -> None:
    """Sign new TLS and answer certificates: for this HQ, or for one that asked by `otscert hq-root request`.

    HQ does it by itself while its root's key is in its folder without a passphrase.
    """
    place, keyring, now_s = Place.of(config, folder), Keyring(file=passphrase_file), int(time.time())
    if request_file is None:
        if not place.hosts:
            raise typer.BadParameter("with --folder, name what HQ asked for", param_hint="--request")
        pki = place.to_change()
        root = pki.root(ask=keyring.ask, key_file=root_key)
        pki.renew_leaves(hosts=place.hosts, now_s=now_s, root=root, every=True)
        _tell(pki, as_json=as_json, said=f"HQ has new certificates. {_RUNNING}")
        return
    asked = read_document(request_file)
    signed = sign_request(place.pki, place.pki.root(ask=keyring.ask, key_file=root_key), asked, now_s=now_s)
    write_document(out, signed)
    hosts, generations = asked["hosts"], asked["generations"]
    if as_json:
        show.print_json({"out": str(out), "hosts": hosts, "generations": generations})
        return
    typer.echo(
        f"Signed for {', '.join(map(show.printable, hosts))}: TLS certificate {generations['tls']}, answer certificate"
        f" {generations['answer']}. At HQ: otscert hq-root install {out}"
    )


def request(
    config: ConfigOption = None,
    out: Annotated[Path, typer.Option(help="The file to write; it holds no secret.")] = Path("request.json"),
    *,
    as_json: JsonOption = False,
) -> None:
    """Write what the machine with the root's key has to sign: public keys, host names, generations."""
    place = Place.of(config, None)
    asked = make_request(place.to_change(), hosts=place.hosts)
    write_document(out, asked)
    if as_json:
        show.print_json({"out": str(out), "hosts": asked["hosts"], "generations": asked["generations"]})
        return
    typer.echo(f"Take {out} to the machine with the root's key: otscert hq-root sign --request {out.name} --folder ...")


def install_signed(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What otscert hq-root sign has written.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Check the certificates that were asked for and use them; with them may come the next root."""
    pki = Place.of(config, None).to_change()
    before = pki.root_certificate()
    root = install(pki, read_document(file), now_s=int(time.time()))
    also = "" if root == before else f" The next root signs from now on. Pins for firmware: {pki.pins_pem}."
    _tell(pki, as_json=as_json, said=f"HQ has new certificates.{also} {_RUNNING}")


def _tell(pki: PkiFolder, *, as_json: bool, said: str = "") -> None:
    view = root_view(pki)
    if as_json:
        show.print_json(view)
        return
    if said:
        typer.echo(f"{said}\n")
    print_root(view)


def _confirm_finish() -> None:
    typer.confirm(
        "Boxes whose firmware pins the old root alone will not believe HQ any more. Go on?", abort=True, err=True
    )
