"""``GET /metrics`` for Prometheus, through its client library, which is an extra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from ..queue import TaskQueue
from ..values import TaskEnd
from .bodies import HTTPError

_QUERY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_TASK_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """Counts what happens. Labels are workflows' names and outcomes: nothing that a consumer wrote."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue
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
        self._waiting = prometheus_client.Gauge(
            "xalora_tasks_waiting", "Tasks that wait for a miner.", ["workflow"], registry=self.registry
        )
        self._running = prometheus_client.Gauge(
            "xalora_tasks_running", "Tasks that miners carry out.", registry=self.registry
        )
        self._miners = prometheus_client.Gauge(
            "xalora_miners", "Miners that are connected.", ["state"], registry=self.registry
        )
        queue.on_end = self._count_end
        queue.on_attempt_lost = lambda workflow: self._lost.labels(str(workflow)).inc()

    def query_answered(self, seconds: float) -> None:
        """Count a query; ``seconds`` without the time it waited on request."""
        if self._library is not None:
            self._queries.observe(seconds)

    def routes(self) -> list[web.RouteDef]:
        """The route for the application."""
        return [web.get("/metrics", self.metrics)]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Answer in Prometheus's text format; 501 without its library."""
        if self._library is None:
            raise HTTPError(501, "metrics need the package prometheus-client: pip install 'xalora-nodes[sequencer]'")
        now = await self._queue.overview()
        self._waiting.clear()  # A workflow for which nothing waits any more has no line.
        for workflow, length in now.waiting.items():
            self._waiting.labels(str(workflow)).set(length)
        self._running.set(len(now.running))
        alive = [miner.is_busy for miner in now.miners if miner.is_alive]
        self._miners.labels("busy").set(sum(alive))
        self._miners.labels("idle").set(len(alive) - sum(alive))
        choose: Callable[[str], tuple[Any, str]] = self._library.exposition.choose_encoder
        encode, content_type = choose(request.headers.get("Accept", ""))
        return web.Response(body=encode(self.registry), headers={"Content-Type": content_type})

    def _count_end(self, end: TaskEnd) -> None:
        """Count an end, and how long the task ran."""
        self._ended.labels(str(end.workflow), end.outcome).inc()
        if end.outcome == "finished" and end.seconds is not None:
            self._seconds.labels(str(end.workflow)).observe(max(0.0, end.seconds))
