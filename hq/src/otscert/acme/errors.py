"""The base of what this package raises; it knows nothing about HTTP exchanges or remedies (see `fault`)."""

from __future__ import annotations


class AcmeError(Exception):
    """Something given to the ACME vocabulary cannot be what it has to be."""


class AccountKeyError(AcmeError):
    """The account key is not an unencrypted PEM of an ECDSA P-256 private key."""


class ExternalAccountError(AcmeError):
    """The external account binding has an unknown algorithm or a MAC key that is not base64url."""


class ChainError(AcmeError):
    """What the CA sent for a certificate is not a chain of PEM certificates, end-entity first."""
