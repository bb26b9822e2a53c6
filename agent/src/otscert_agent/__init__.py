"""The box's side of OTS Cert: a name, a key that never leaves the box, a browser-trusted certificate.

Start at `cli` (the commands) or `loop` (the first boot as a table of states). `wire` is the protocol's vocabulary,
shared with HQ; everything else is the box's alone.
"""

__version__ = "0.1.0"
