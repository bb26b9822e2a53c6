"""Device protocol v1 as bytes: what box and HQ both have to agree on, written once.

Knows encodings, signatures, the curve arithmetic of HQ's contribution, labels and message shapes (docs/protocol.md).
Does not know any policy, any state, the network or the disk. Runs on Python 3.9.
"""
