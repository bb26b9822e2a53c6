"""The language-neutral test vectors of protocol v1: the program that makes docs/protocol-vectors.json.

Every value is fixed or derived from a label, so the program makes the same bytes each time. What the vectors are worth
is decided in `tests/test_protocol_vectors.py`, which also holds them against the RFCs' own.
"""
