"""What all tests share: Hypothesis judges values, not how fast this machine is at the moment."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("otscert", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("otscert")
