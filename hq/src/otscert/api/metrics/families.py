"""The shapes of metrics, with HQ's prefix. `values` are by label values, in the order of `labels`."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from otscert.counting import Spread

PREFIX = "otscert_"
Values = Mapping[tuple[str, ...], float]


def gauge(name: str, sentence: str, values: Values, *labels: str) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, sentence, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def counter(name: str, sentence: str, values: Values, *labels: str) -> Metric:
    """`name` without the `_total` that is added."""
    family = CounterMetricFamily(PREFIX + name, sentence, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def histogram(name: str, sentence: str, spread: Spread) -> Metric:
    bounds = [*(str(float(bound)) for bound in spread.bounds_s), "+Inf"]
    buckets = list(zip(bounds, spread.at_most, strict=True))
    return HistogramMetricFamily(PREFIX + name, sentence, buckets=buckets, sum_value=spread.sum_s)
