"""The figures of docs/benchmarks.md, all taken in one run: `python -m bench` (or `make bench`)."""
