"""The rules of OTS Cert as pure functions and values: no clock, no randomness, no I/O.

Every decision takes what it needs, `now_s` included, and returns a value that carries its reason.
"""
