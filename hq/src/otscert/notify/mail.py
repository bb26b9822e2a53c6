"""Alerts as e-mail: plain text over SMTP (RFC 5321), with TLS whose certificate is checked, and a log-in if wanted.

The message id is made of the alert message's own id, so a repetition is recognizable (RFC 5322, section 3.6.4).
"""

from __future__ import annotations

import logging
import smtplib
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from pathlib import Path

from otscert.domain.alert_message import Message
from otscert.notify.channel_config import MailConfig, Security
from otscert.notify.errors import ChannelUnusable, NotDelivered
from otscert.notify.in_thread import in_thread

TOTAL_S = 60.0
_STEP_S = 20.0
_LONGEST_SUBJECT = 200
_log = logging.getLogger(__name__)


class Mail:
    """A channel. Makes a connection for each message; raises `ChannelUnusable` when it is made."""

    def __init__(self, config: MailConfig, *, total_s: float = TOTAL_S) -> None:
        self._config = config
        self._total_s = total_s
        self._trust = None if config.security is Security.NONE else _trust(config.trust_file)

    async def send(self, message: Message) -> None:
        """Send it to all recipients; raise `NotDelivered`."""
        server = f"the mail server {self._config.host}:{self._config.port}"
        connection = _Connection(self._config, self._trust)
        mail = compose(message, self._config)
        try:
            refused = await in_thread(
                lambda: connection.send(mail), total_s=self._total_s, name="mail", end=connection.abort
            )
        except TimeoutError as error:
            raise NotDelivered(f"{server} did not take the message within {self._total_s:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise NotDelivered(
                f"the TLS certificate of {server} is not trusted: {error.verify_message};"
                " the setting for a root of your own is alerts.smtp_trust_file"
            ) from error
        except smtplib.SMTPException as error:
            raise NotDelivered(f"{server}: {_reason(error)}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NotDelivered(f"{server} cannot be reached: {reason}; see alerts.smtp_host and smtp_port") from error
        if refused:
            _log.warning("alert.recipients_refused", extra={"recipients": refused})


def compose(message: Message, config: MailConfig) -> EmailMessage:
    """The message as it goes over the wire."""
    mail = EmailMessage()
    subject = " ".join(message.subject.split())
    mail["Subject"] = subject if len(subject) <= _LONGEST_SUBJECT else f"{subject[: _LONGEST_SUBJECT - 3]}..."
    mail["From"] = config.sender
    mail["To"] = ", ".join(config.recipients)
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at_s, UTC))
    mail["Message-ID"] = f"<otscert-{message.id}@{parseaddr(config.sender)[1].rpartition('@')[2]}>"
    # RFC 3834, section 5: nobody's holiday answers this.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    return mail


class _Connection:
    """One conversation with the server; `abort` may be called from another thread."""

    def __init__(self, config: MailConfig, trust: ssl.SSLContext | None) -> None:
        self._config = config
        self._trust = trust
        self._smtp: smtplib.SMTP | None = None

    def send(self, mail: EmailMessage) -> list[str]:
        """Returns the recipients that the server refused while it took others."""
        config, smtp = self._config, self._made()
        self._smtp = smtp
        # smtplib checks the certificate against this name, which it takes from a constructor that connects at once.
        smtp._host = config.host  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        try:
            code, greeting = smtp.connect(config.host, config.port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, greeting)
            if config.security is Security.STARTTLS:
                smtp.ehlo()
                smtp.starttls(context=self._trust)
            if config.user:
                smtp.ehlo_or_helo_if_needed()
                smtp.login(config.user, config.password)
            refused = list(smtp.send_message(mail))
            with suppress(smtplib.SMTPException, OSError):  # the message is taken; a farewell is good manners
                smtp.quit()
            return refused
        finally:
            smtp.close()

    def abort(self) -> None:
        """Let whatever waits for the server fail now."""
        held = None if self._smtp is None else self._smtp.sock
        if held is not None:
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)

    def _made(self) -> smtplib.SMTP:
        if self._config.security is Security.TLS:
            return smtplib.SMTP_SSL(timeout=_STEP_S, local_hostname=self._config.greeting, context=self._trust)
        return smtplib.SMTP(timeout=_STEP_S, local_hostname=self._config.greeting)


def _trust(trust_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if trust_file is None else str(trust_file))
    except (OSError, ssl.SSLError) as error:
        raise ChannelUnusable(f"alerts.smtp_trust_file {trust_file} cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _reason(error: smtplib.SMTPException) -> str:
    """What the server said, and which setting it is about."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        said = _said(error.smtp_code, error.smtp_error)
        return f"it refused the log-in ({said}); see alerts.smtp_user and alerts.smtp_password_file"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        said = "; ".join(f"{who}: {_said(*answer)}" for who, answer in sorted(error.recipients.items()))
        return f"it refused every recipient ({said}); see alerts.email_to"
    if isinstance(error, smtplib.SMTPSenderRefused):
        return f"it refused the sender ({_said(error.smtp_code, error.smtp_error)}); see alerts.email_from"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answered {_said(error.smtp_code, error.smtp_error)}"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return f"{str(error).rstrip('.')}; see alerts.smtp_security and alerts.smtp_user"
    return str(error) or "it hung up"


def _said(code: int, text: bytes | str) -> str:
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return f"{code} {' '.join(shown.split())}"
