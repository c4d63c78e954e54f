"""`/metrics`: a few gauges in Prometheus' text format, read at the moment they are asked for."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lanspread.api.runtime import Runtime

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Gauges(Collector):
    def __init__(self, runtime: Runtime, clients: int) -> None:
        self._runtime = runtime
        self._clients = clients

    def collect(self) -> Iterable[GaugeMetricFamily]:
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
        for name, (text, value) in values.items():
            yield GaugeMetricFamily(f"lanspread_{name}", text, value=float(value))
        if status.loop_lag is not None:
            lag = GaugeMetricFamily(
                "lanspread_loop_lag_seconds",
                "How late the event loop was in the last minute; quantile 1 is the worst",
                labels=["quantile"],
            )
            for quantile, lag_s in (
                ("0.5", status.loop_lag.p50_s),
                ("0.99", status.loop_lag.p99_s),
                ("1", status.loop_lag.max_s),
            ):
                lag.add_metric([quantile], lag_s)
            yield lag
        operations = GaugeMetricFamily(
            "lanspread_operations", "Operations by state", labels=["state"]
        )
        for state, count in states.items():
            operations.add_metric([state], count)
        yield operations


def render(runtime: Runtime, clients: int) -> bytes:
    """The whole page of metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gauges(runtime, clients))
    return generate_latest(registry)
