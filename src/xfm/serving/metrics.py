"""What a server counts, in the form of Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server.

    Args:
        waiting: asked for the number of items that wait.
    """

    def __init__(self, waiting: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "xfm_requests", "Requests by route and status.", ["route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "xfm_request_seconds", "Time of a request.", ["route"], buckets=_SECONDS, registry=self._registry
        )
        self._sizes = Histogram(
            "xfm_batch_items", "Items computed together.", ["task"], buckets=_SIZES, registry=self._registry
        )
        self._computed = Histogram(
            "xfm_batch_seconds", "Time of a batch.", ["task"], buckets=_SECONDS, registry=self._registry
        )
        Gauge("xfm_waiting_items", "Items that wait.", registry=self._registry).set_function(waiting)

    def batch(self, task: str, items: int, seconds: float) -> None:
        """A batch was computed."""
        self._sizes.labels(task).observe(items)
        self._computed.labels(task).observe(seconds)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)
