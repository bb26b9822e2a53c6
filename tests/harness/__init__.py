"""Runners of the real parts that tests share: ports, Pebble, NSD, Chromium. Knows nothing of the product's own code."""
