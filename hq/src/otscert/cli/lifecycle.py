"""`otscert device reset`, `transfer`, `retire`, `quarantine`, `rearm`, `block-serial`, `unblock-serial`.

The words of the command line; what is done is in `service.lifecycle`, what it means for an operator in
docs/lifecycle.md. A running HQ follows within seconds, see `housekeeping.follow`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from otscert.cli.approval import AccountOption, FromOption
from otscert.cli.options import ConfigOption, JsonOption, examples

# Ids are base64url, so one may begin with a hyphen.
ANY_ID = {"ignore_unknown_options": True}
BoxArgument = Annotated[str, typer.Argument(metavar="ID", help="The box's id, label, full name or serial number.")]
UnitArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The box's id, label, name or serial number, or a unit's short id.")
]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The product line.")]
SerialArgument = Annotated[str, typer.Argument(metavar="SERIAL", help="The serial number.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record and for whoever asks later.")]
SetupOption = Annotated[
    str,
    typer.Option(
        "--setup-code", metavar="XXXX-XXXX-XXXX", help="The code on the box's label; - asks for it (or reads a line)."
    ),
]
NoSetupOption = Annotated[
    bool,
    typer.Option(
        "--no-setup-code",
        help="Transfer without the code. Dangerous: whoever asks you for it may not have the box, and takes it away"
        " from its owner.",
    ),
]
SameBoardOption = Annotated[
    bool,
    typer.Option(
        "--same-board", help="Of a stamped unit: only the board that it had; any other one is refused from now on."
    ),
]


def register(group: typer.Typer) -> None:
    """Add the commands to the group of `device`."""
    add = group.command
    add(
        "rearm",
        short_help="Let a box order again.",
        context_settings=ANY_ID,
        epilog=examples("otscert device rearm nifty-babbage-7k2q", "otscert device rearm 7KQ2M --same-board"),
    )(rearm)
    add(
        "quarantine",
        short_help="No certificates for a box until you rearm it.",
        context_settings=ANY_ID,
        epilog=examples('otscert device quarantine nifty-babbage-7k2q --reason "reported stolen"'),
    )(quarantine)
    add(
        "reset",
        short_help="Let a box start over under another name.",
        context_settings=ANY_ID,
        epilog=examples("otscert device reset nifty-babbage-7k2q"),
    )(reset)
    add(
        "transfer",
        short_help="Give a box to another owner.",
        context_settings=ANY_ID,
        epilog=examples(
            "otscert device transfer nifty-babbage-7k2q --setup-code -",
            "otscert device transfer nifty-babbage-7k2q --no-setup-code",
        ),
    )(transfer)
    add(
        "retire",
        short_help="Take a box out of service.",
        context_settings=ANY_ID,
        epilog=examples("otscert device retire nifty-babbage-7k2q"),
    )(retire)
    add(
        "block-serial",
        short_help="Let no box with this serial number in.",
        context_settings=ANY_ID,
        epilog=examples('otscert device block-serial box SN-0042 --reason "stolen from the warehouse"'),
    )(block_serial)
    add(
        "unblock-serial",
        short_help="Lift the block of a serial number.",
        context_settings=ANY_ID,
        epilog=examples("otscert device unblock-serial box SN-0042"),
    )(unblock_serial)


def rearm(
    box: UnitArgument, config: ConfigOption = None, *, same_board: SameBoardOption = False, as_json: JsonOption = False
) -> None:
    """Let a box order again: after certificates that were never seen served, a freeze, or a quarantine.

    A quarantined unit may come back on another board, unless --same-board. A unit that was retired may enrol again.
    """
    from otscert.cli import lifecycle_acts  # noqa: PLC0415 - HQ's use cases are behind it: slow for other commands

    lifecycle_acts.rearm(config, box, same_board=same_board, as_json=as_json)


def quarantine(
    box: BoxArgument, config: ConfigOption = None, reason: ReasonOption = "", *, as_json: JsonOption = False
) -> None:
    """Order nothing for a box until somebody rearms it. Its name and the certificate that it has go on working."""
    from otscert.cli import lifecycle_acts  # noqa: PLC0415 - see above

    lifecycle_acts.quarantine(config, box, reason=reason, as_json=as_json)


def reset(box: BoxArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Take a box's name back for ever; the box starts over at its next call, with another name and new keys."""
    from otscert.cli import lifecycle_acts  # noqa: PLC0415 - see above

    lifecycle_acts.reset(config, box, as_json=as_json)


def transfer(
    box: BoxArgument,
    config: ConfigOption = None,
    setup: SetupOption = "",
    account: AccountOption = "",
    from_address: FromOption = "",
    *,
    no_setup_code: NoSetupOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give a box to another owner: as reset, once the setup code on its label was shown to you.

    The owner before may have copied the box's keys, so it gets new ones and another name.
    """
    from otscert.cli import lifecycle_acts  # noqa: PLC0415 - see above

    if bool(setup) == no_setup_code:
        raise typer.BadParameter("give either --setup-code or --no-setup-code", param_hint="--setup-code")
    confirmer = lifecycle_acts.confirmer(account, from_address)
    lifecycle_acts.transfer(config, box, None if no_setup_code else setup, confirmer, as_json=as_json)


def retire(box: BoxArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Take a box out of service: its name back for ever, and the box is told to stop asking."""
    from otscert.cli import lifecycle_acts  # noqa: PLC0415 - see above

    lifecycle_acts.retire(config, box, as_json=as_json)


def block_serial(
    model: ModelArgument,
    serial: SerialArgument,
    config: ConfigOption = None,
    reason: ReasonOption = "",
    *,
    as_json: JsonOption = False,
) -> None:
    """Answer no hello of this serial number any more: no first enrolment, no renewal."""
    from otscert.cli import lifecycle_acts  # noqa: PLC0415 - see above

    lifecycle_acts.block_serial(config, model, serial, reason=reason, as_json=as_json)


def unblock_serial(
    model: ModelArgument, serial: SerialArgument, config: ConfigOption = None, *, as_json: JsonOption = False
) -> None:
    """Let boxes with this serial number say hello again."""
    from otscert.cli import lifecycle_acts  # noqa: PLC0415 - see above

    lifecycle_acts.unblock_serial(config, model, serial, as_json=as_json)
