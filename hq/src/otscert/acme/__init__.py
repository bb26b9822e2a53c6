"""ACME's vocabulary (RFC 8555, RFC 9773): one file per resource, no I/O, no clock, no retries.

What a CA sends is read leniently: unknown types, states and members, and missing optional headers never raise.
"""
