"""What the settings say about a CA's limits: which known ones hold, and which the CA has adjusted for the maker."""

from __future__ import annotations

from otscert.config_reader import Reader
from otscert.config_values import ConfigError
from otscert.domain.limits import BY_NAME, LimitKind, Limits, LimitTextError, limits_for, parse_quota
from otscert.domain.quota import Quota

_AUTO = "auto"
_BY_SETTING = {kind.value.replace("-", "_"): kind for kind in LimitKind}


def read_limits(reader: Reader, prefix: str, directory_url: str) -> Limits:
    """The limits of one issuer; raise `ConfigError`."""
    named = reader.get(f"{prefix}limits")
    if named != _AUTO and named not in BY_NAME:
        raise ConfigError(
            f"{prefix}limits is {named!r}, but must be {_AUTO} (by the host of directory_url) or one of"
            f" {', '.join(sorted(BY_NAME))}"
        )
    limits = limits_for(directory_url) if named == _AUTO else BY_NAME[named]
    changes: dict[LimitKind, Quota | None] = {}
    for setting, kind in _BY_SETTING.items():
        text = reader.get(f"{prefix}{setting}")
        if not text:
            continue
        try:
            changes[kind] = parse_quota(text)
        except LimitTextError as error:
            raise ConfigError(f"{prefix}{setting}: {error}") from error
    return limits.with_quotas(changes)


def read_public_suffix(reader: Reader) -> bool | None:
    """Whether CAs take the zone for a public suffix; None: as HQ's copy of the list has it."""
    text = reader.get("zone.public_suffix")
    spoken = {_AUTO: None, "true": True, "false": False}
    if text not in spoken:
        raise ConfigError(f"zone.public_suffix is {text!r}, but must be auto, true or false")
    return spoken[text]
