"""The face for Prometheus: what HQ counts, on a listener of its own. See docs/metrics.md."""
