"""``GET /metrics`` for Prometheus, through its client library, which is an extra."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .clock import Clock
from .dispatcher import Dispatcher
from .http import Refusal
from .observer import Observer
from .work import Work

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

_QUERY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_TASK_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics(Observer):
    """Counts what happens. Labels are workflows' names and outcomes: nothing that a consumer wrote."""

    def __init__(self) -> None:
        try:
            import prometheus_client
        except ImportError:
            self._library: Any = None
            return
        self._library = prometheus_client
        self.registry = prometheus_client.CollectorRegistry()
        self._ended = prometheus_client.Counter(
            "xalora_tasks_ended", "Tasks that ended.", ["workflow", "outcome"], registry=self.registry
        )
        self._lost = prometheus_client.Counter(
            "xalora_attempts_lost", "Attempts whose miner was lost or gave up.", ["workflow"], registry=self.registry
        )
        self._queries = prometheus_client.Histogram(
            "xalora_query_seconds",
            "Time to answer a query, without the wait that was asked for.",
            buckets=_QUERY_BUCKETS,
            registry=self.registry,
        )
        self._seconds = prometheus_client.Histogram(
            "xalora_task_seconds",
            "Time from the begin of the last attempt to the result.",
            ["workflow"],
            buckets=_TASK_BUCKETS,
            registry=self.registry,
        )

    def attach(self, dispatcher: Dispatcher, clock: Clock) -> None:
        """Also show the state at the moment of the request."""
        if self._library is not None:
            from prometheus_client.core import GaugeMetricFamily

            self.registry.register(_State(GaugeMetricFamily, dispatcher, clock))

    def task_ended(self, work: Work, outcome: str, now: float) -> None:
        """Count an end, and how long the task ran."""
        if self._library is not None:
            self._ended.labels(str(work.workflow), outcome).inc()
            if outcome == "finished" and work.lease is not None:
                self._seconds.labels(str(work.workflow)).observe(max(0.0, now - work.lease.began))

    def attempt_lost(self, work: Work) -> None:
        """Count a lost attempt."""
        if self._library is not None:
            self._lost.labels(str(work.workflow)).inc()

    def query_answered(self, seconds: float) -> None:
        """Count a query."""
        if self._library is not None:
            self._queries.observe(seconds)

    def routes(self) -> list[web.RouteDef]:
        """The route for the application."""
        return [web.get("/metrics", self.metrics)]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Answer in Prometheus's text format; 501 without its library."""
        if self._library is None:
            raise Refusal(501, "metrics need the package prometheus-client: pip install 'xalora-nodes[sequencer]'")
        choose: Callable[[str], tuple[Any, str]] = self._library.exposition.choose_encoder
        encode, content_type = choose(request.headers.get("Accept", ""))
        return web.Response(body=encode(self.registry), headers={"Content-Type": content_type})


class _State:
    """A collector of what is true at the moment."""

    def __init__(self, gauge: type[GaugeMetricFamily], dispatcher: Dispatcher, clock: Clock) -> None:
        self._gauge = gauge
        self._dispatcher = dispatcher
        self._clock = clock

    def collect(self) -> Iterator[Any]:
        waiting = self._gauge("xalora_tasks_waiting", "Tasks that wait for a miner.", labels=["workflow"])
        for workflow, length in self._dispatcher.queue.lengths().items():
            waiting.add_metric([str(workflow)], length)
        yield waiting
        running = self._dispatcher.running()
        yield self._gauge("xalora_tasks_running", "Tasks that miners carry out.", value=len(running))
        now = self._clock.time()
        alive = [miner for miner in self._dispatcher.miners.values() if miner.is_alive(now)]
        busy = sum(bool(miner.holds) for miner in alive)
        miners = self._gauge("xalora_miners", "Miners that are connected.", labels=["state"])
        miners.add_metric(["busy"], busy)
        miners.add_metric(["idle"], len(alive) - busy)
        yield miners
