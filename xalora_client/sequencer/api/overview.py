"""The state of the queue: a page for browsers, and metrics. Neither shows anything that a consumer wrote."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import islice
from typing import Any

from aiohttp import web

from ...errors import one_line
from ...http import __version__
from ...protocol.parameters import number_text
from ...workflows import WorkflowKey
from ..queue import TaskQueue
from ..values import EndedTask, MinerView, Overview, RunningTask
from .errors import HTTPError
from .keys import check_token

_RECENT = 25
_MOST_ROWS = 300
_LONGEST_CELL = 300
_MOST_LABELS = 300
"""Workflows that the metrics name. Each has lines for good, and miners choose the names: the others share one."""

_QUERY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_TASK_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
th { font-weight: 600; }
p, th { color: #777; }
"""


_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


class Dashboard:
    """``GET /``: a page for browsers, which reloads itself every five seconds; for programs, what this server is.

    ``service`` is its name, ``instance`` differs at each start. Without a queue there is no page. ``token`` opens it;
    None where everybody may see it.
    """

    def __init__(self, service: str, instance: str, queue: TaskQueue | None, token: str | None = None) -> None:
        self._about: dict[str, Any] = {"service": service, "instance": instance, "version": __version__}
        self._about |= {"image_upload": True, "workflow_list": True}
        self._queue = queue
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """The route for the application."""
        return [web.get("/", self.about)]

    async def about(self, request: web.Request) -> web.StreamResponse:
        """Identify this server; browsers get the page."""
        if self._queue is not None and "text/html" in request.headers.get("Accept", ""):
            check_token(request, self._token)
            page = _html(await self._queue.overview(_RECENT))
            return web.Response(text=page, content_type="text/html", headers=_HEADERS)
        return web.json_response(self._about)


def _html(now: Overview) -> str:
    """The page as text. Everything from outside is escaped. Task ids are cut, because a whole one is a secret."""
    miners = sorted(now.miners, key=lambda miner: (not miner.is_alive, miner.name))
    alive = sum(miner.is_alive for miner in miners)
    tables = [
        _table(
            "Miners",
            ("Name", "State", "Runs", "Done", "On"),
            map(_miner, miners),
            "No miner is connected. Start one with: xalora miner",
        ),
        _table("Queue", ("Workflow", "Waiting"), sorted(now.waiting.items(), key=str), "No task waits."),
        _table(
            "Running",
            ("Task", "Workflow", "Miner", "Attempt", "For", "Progress"),
            map(_running, now.running),
            "No task runs.",
        ),
        _table(
            "Recent",
            ("Task", "Workflow", "End", "Miner", "Attempts", "Took", "Ago"),
            map(_ended, now.ended),
            "No task has ended.",
        ),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Xalora sequencer</title><style>{_STYLE}</style></head><body><h1>Xalora sequencer</h1>"
        f"<p>{alive} miners, {sum(now.waiting.values())} tasks waiting, {len(now.running)} running</p>"
        f"{''.join(tables)}<p>Version {escape(__version__)}</p></body></html>"
    )


def _miner(miner: MinerView) -> tuple[object, ...]:
    state = "busy" if miner.is_busy else "idle"
    if not miner.is_well:
        state = f"unwell: {miner.failed} attempts in a row without a result"
    if not miner.is_alive:
        state = f"gone for {_duration(miner.idle_seconds)}"
    return miner.name, state, ", ".join(miner.runs[:20]), miner.done, " ".join(miner.software.values())


def _running(task: RunningTask) -> tuple[object, ...]:
    reached = () if task.progress is None else (task.progress["value"], task.progress["maximum"])
    steps = " of ".join(map(number_text, reached))
    return _short(task.task_id), task.workflow, task.miner, task.attempt, _duration(task.seconds), steps


def _ended(task: EndedTask) -> tuple[object, ...]:
    took, ago = _duration(task.seconds), _duration(task.ago)
    return _short(task.task_id), task.workflow, task.outcome, task.miner or "", task.attempts, took, ago


def _table(title: str, head: Iterable[str], rows: Iterable[Iterable[object]], empty: str) -> str:
    cells = (map(_cell, row) for row in islice(rows, _MOST_ROWS))
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    if not body:
        return f"<h2>{title}</h2><p>{empty}</p>"
    names = "".join(f"<th>{name}</th>" for name in head)
    return f"<h2>{title}</h2><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return f"<td>{escape(one_line(str(value), _LONGEST_CELL))}</td>"


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"


def _short(task_id: str) -> str:
    return f"{task_id[:8]}…"


class Metrics:
    """``GET /metrics`` for Prometheus, through its client library, which is an extra.

    Labels are workflows' names and outcomes; after many workflows the name of a new one is "other".
    """

    def __init__(self, queue: TaskQueue, token: str | None) -> None:
        self._queue = queue
        self._token = token
        self._registry: Any = None
        self._names: set[str] = set()
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition
        except ImportError:
            return
        self._registry = registry = CollectorRegistry()
        self._exposition = exposition
        self._ended = Counter("xalora_tasks_ended", "Tasks that ended.", ["workflow", "outcome"], registry=registry)
        self._lost = Counter(
            "xalora_attempts_lost", "Attempts whose miner was lost or gave up.", ["workflow"], registry=registry
        )
        self._queries = Histogram(
            "xalora_query_seconds",
            "Time to answer a query, without the wait that was asked for.",
            buckets=_QUERY_BUCKETS,
            registry=registry,
        )
        self._seconds = Histogram(
            "xalora_task_seconds",
            "Time from the start of the last attempt to the result.",
            ["workflow"],
            buckets=_TASK_BUCKETS,
            registry=registry,
        )
        self._waiting = Gauge("xalora_tasks_waiting", "Tasks that wait for a miner.", ["workflow"], registry=registry)
        self._running = Gauge("xalora_tasks_running", "Tasks that miners run.", registry=registry)
        self._miners = Gauge("xalora_miners", "Miners that are connected.", ["state"], registry=registry)
        queue.on_end = self._count_end
        queue.on_attempt_lost = lambda workflow: self._lost.labels(self._name(workflow)).inc()

    def query_answered(self, seconds: float) -> None:
        """Count a query; ``seconds`` without the time it waited on request."""
        if self._registry is not None:
            self._queries.observe(seconds)

    def routes(self) -> list[web.RouteDef]:
        """The route for the application."""
        return [web.get("/metrics", self.metrics)]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Answer in Prometheus's text format; 501 without its library."""
        check_token(request, self._token)
        if self._registry is None:
            raise HTTPError(501, "metrics need a package: python -m pip install prometheus-client")
        now = await self._queue.overview()
        self._waiting.clear()  # A workflow for which nothing waits any more has no line.
        for workflow, length in now.waiting.items():
            self._waiting.labels(self._name(workflow)).inc(length)
        self._running.set(len(now.running))
        alive = [miner.is_busy for miner in now.miners if miner.is_alive]
        self._miners.labels("busy").set(sum(alive))
        self._miners.labels("idle").set(len(alive) - sum(alive))
        encode, content_type = self._exposition.choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    def _count_end(self, workflow: WorkflowKey, outcome: str, seconds: float | None) -> None:
        name = self._name(workflow)
        self._ended.labels(name, outcome).inc()
        if outcome == "finished" and seconds is not None:
            self._seconds.labels(name).observe(max(0.0, seconds))

    def _name(self, workflow: WorkflowKey) -> str:
        name = str(workflow)
        if len(self._names) < _MOST_LABELS:
            self._names.add(name)
        return name if name in self._names else "other"
