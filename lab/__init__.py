"""The twin laboratory: one image booted twice on a machine without any randomness of its own (docs/twin-lab.md)."""
