"""The figures for Prometheus (GET /metrics)."""

import copy
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Read = Callable[[], Mapping[tuple[str, ...], float]]
_Family = GaugeMetricFamily | CounterMetricFamily


class Metrics:
    """A registry of figures for one server, so that two servers in a process (tests) do not share counters."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, processor time, open files
        self._tasks = Histogram(
            "samloop_predict_seconds",
            "Seconds to answer one interactive task.",
            registry=self._registry,
            buckets=(0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8),
        )
        self._batches = Histogram(
            "samloop_batch_seconds",
            "Seconds to answer a batch: the tasks of one request without a prompt.",
            registry=self._registry,
            buckets=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
        )
        self._batch_images = Counter(
            "samloop_batch_images", "Images that batches have answered.", registry=self._registry
        )
        self._regions = Counter("samloop_regions", "Regions sent to Label Studio.", registry=self._registry)
        self._failures = Counter(
            "samloop_failures", "Tasks that could not be answered.", ["reason"], registry=self._registry
        )
        self._refused_clicks = Counter(
            "samloop_refused_clicks",
            "Clicks that got no mask, by the error or NoMask.",
            ["reason"],
            registry=self._registry,
        )
        self._trainings = Counter("samloop_trainings_requested", "Trainings queued.", registry=self._registry)

    def count_answer(self, *, regions: int, seconds: float) -> None:
        """Count an answered task."""
        self._tasks.observe(seconds)
        self._regions.inc(regions)

    def count_batch(self, *, images: int, seconds: float) -> None:
        """Count an answered batch, and the images of the tasks that got an answer in it."""
        self._batches.observe(seconds)
        self._batch_images.inc(images)

    def count_failure(self, reason: str) -> None:
        """Count a task that failed; `reason` is the error's class, never its text."""
        self._failures.labels(reason).inc()

    def count_refused_click(self, reason: str) -> None:
        """Count a click that was refused; `reason` is the error's class."""
        self._refused_clicks.labels(reason).inc()

    def count_training(self) -> None:
        """Count a queued training."""
        self._trainings.inc()

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a figure that is read whenever Prometheus asks."""
        Gauge(name, help_text, registry=self._registry).set_function(read)

    def gauges(self, name: str, help_text: str, labels: tuple[str, ...], read: Read) -> None:
        """Add figures by their labels' values, read whenever Prometheus asks."""
        self._registry.register(_Figures(GaugeMetricFamily(name, help_text, labels=labels), read))

    def counter(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a count that only grows, read whenever Prometheus asks; it is shown as `name` with `_total`."""
        self.counters(name, help_text, (), lambda: {(): read()})

    def counters(self, name: str, help_text: str, labels: tuple[str, ...], read: Read) -> None:
        """Add counts by their labels' values, as `counter`."""
        self._registry.register(_Figures(CounterMetricFamily(name, help_text, labels=labels), read))

    def exposition(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _Figures(Collector):
    """A family of figures that are read at every scrape."""

    def __init__(self, family: _Family, read: Read) -> None:
        self._family, self._read = family, read

    def describe(self) -> Iterator[_Family]:
        """Describe the figures without reading them: the registry asks during registration."""
        yield self._family

    def collect(self) -> Iterator[_Family]:
        family = copy.copy(self._family)
        family.samples = []
        for values, figure in self._read().items():
            family.add_metric(values, figure)
        yield family
