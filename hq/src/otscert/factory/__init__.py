"""The maker's line: stamping units, their manifest and labels, and proofs that a unit or an image is right.

Needs no running HQ. Knows secrets of units only while it makes or checks them; HQ never sees one.
"""
