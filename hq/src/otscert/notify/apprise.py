"""Alerts to the services that Apprise knows (extra `otscert[apprise]`), one channel for each URL.

The URLs hold tokens, so they are never shown: not in errors, not in logs, not in a representation. Apprise itself is
kept from logging.
"""

from __future__ import annotations

import logging
from typing import Any

from otscert.domain.alert_message import Message
from otscert.notify.channel_config import apprise_missing
from otscert.notify.errors import ChannelUnusable, NotDelivered
from otscert.notify.in_thread import in_thread

TOTAL_S = 60.0
_NOISY = ("apprise", "requests", "urllib3")


class Service:
    """A channel. Raises `ChannelUnusable` when it is made and Apprise does not know the service."""

    def __init__(self, url: str, *, number: int) -> None:
        """`number` from 1 is its line in the file."""
        self._what = f"line {number} of alerts.apprise_urls"
        self._apprise = _add(url, what=self._what)

    def __repr__(self) -> str:
        return f"Service({self._what})"

    async def send(self, message: Message) -> None:
        """Send it; raise `NotDelivered`."""
        try:
            taken = await in_thread(lambda: self._notify(message), total_s=TOTAL_S, name="apprise")
        except TimeoutError as error:
            raise NotDelivered(f"the service of {self._what} did not take the message within {TOTAL_S:g} s") from error
        except Exception as error:  # noqa: BLE001 - a plugin's error may name its URL, so only its kind is told
            raise NotDelivered(f"the service of {self._what} failed: {type(error).__name__}") from None
        if not taken:
            raise NotDelivered(
                f"the service of {self._what} did not take the message; Apprise's own command shows why, with that URL"
            )

    def _notify(self, message: Message) -> bool:
        return bool(self._apprise.notify(title=message.subject, body=message.text))


def _add(url: str, *, what: str) -> Any:
    problem = apprise_missing()
    if problem is not None:
        raise ChannelUnusable(f"alerts.apprise_urls: {problem}")
    import apprise  # noqa: PLC0415 - an extra, and half a second for those who do not use it

    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    asset = apprise.AppriseAsset(
        app_id="OTS Cert", app_desc="OTS Cert", async_mode=False, secure_logging=True, body_format="text"
    )
    made = apprise.Apprise(asset=asset)
    try:
        known = made.add(url)
    except Exception:  # noqa: BLE001 - it may name the URL
        known = False
    if not known:
        raise ChannelUnusable(f"{what} is no URL that Apprise knows; https://appriseit.com lists them")
    return made
