"""`/metrics`: a few numbers in Prometheus' text format, read at the moment they are asked for."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lanspread.api.runtime import Runtime

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Numbers(Collector):
    def __init__(self, runtime: Runtime, clients: int) -> None:
        self._runtime = runtime
        self._clients = clients

    def collect(self) -> Iterable[Metric]:
        status = self._runtime.status()
        events = self._runtime.events
        states = {"running": 0, "waiting": 0, "paused": 0}
        for operation in status.operations:
            states[operation.state.value] += 1
        values = {
            "peers_connected": ("Peers with a session", status.peers),
            "games": ("Games in the merged library", status.games),
            "up_bytes_per_second": ("Rate of bytes served", status.up_rate),
            "down_bytes_per_second": ("Rate of bytes fetched", status.down_rate),
            "uptime_seconds": ("Time since the start", status.uptime_s),
            "events": ("Number of the last event", events.seq),
            "api_clients": ("Connections to the local API", self._clients),
            "api_subscribers": ("Subscriptions to events", events.subscribers),
        }
        if status.loop_lag is not None:
            lag, text = status.loop_lag, "How late the event loop was in the last minute"
            values["loop_lag_p50_seconds"] = (f"{text}, median", lag.p50_s)
            values["loop_lag_p99_seconds"] = (f"{text}, 99th percentile", lag.p99_s)
            values["loop_lag_max_seconds"] = (f"{text}, at worst", lag.max_s)
        for name, (text, value) in values.items():
            yield GaugeMetricFamily(f"lanspread_{name}", text, value=float(value))
        operations = GaugeMetricFamily(
            "lanspread_operations", "Operations by state", labels=["state"]
        )
        for state, count in states.items():
            operations.add_metric([state], count)
        yield operations
        fetched = CounterMetricFamily(
            "lanspread_fetched_bytes", "Bytes of games fetched in chunks, by path", labels=["path"]
        )
        for path, total in self._runtime.bytes_fetched().items():
            fetched.add_metric([path], total)
        yield fetched


def render(runtime: Runtime, clients: int) -> bytes:
    """The whole page of metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(runtime, clients))
    return generate_latest(registry)
