"""The page for browsers: miners, queue, running and recent tasks. It shows nothing that a consumer wrote."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from ..version import __version__
from .clock import Clock
from .dispatcher import Dispatcher
from .miners import Miner
from .store import Store
from .work import Workflow

_RECENT = 25
_MOST_ROWS = 300
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
th { font-weight: 600; }
p, th { color: #777; }
"""


class Page:
    """Makes the page anew each time it is asked for. It reloads itself every five seconds."""

    def __init__(self, store: Store, dispatcher: Dispatcher, clock: Clock) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock

    def html(self) -> str:
        """The page as text. Everything from outside is escaped. Task ids are cut, because a whole one is a secret."""
        now = self._clock.time()
        miners = sorted(self._dispatcher.miners.values(), key=lambda miner: (not miner.is_alive(now), miner.name))
        alive = sum(miner.is_alive(now) for miner in miners)
        waiting = self._dispatcher.queue.lengths()
        running = self._dispatcher.running()
        parts = [
            f"<p>{alive} miners, {sum(waiting.values())} tasks waiting, {len(running)} running</p>",
            _table(
                "Miners",
                ("Name", "State", "Runs", "Done", "On"),
                (self._miner(miner, now) for miner in miners[:_MOST_ROWS]),
                "No miner is connected. Start one with: xalora miner",
            ),
            _table(
                "Queue",
                ("Workflow", "Waiting"),
                ((str(workflow), str(length)) for workflow, length in sorted(waiting.items(), key=str)),
                "No task waits.",
            ),
            _table(
                "Running",
                ("Task", "Workflow", "Miner", "Attempt", "For", "Progress"),
                (
                    (
                        f"{work.task_id[:8]}…",
                        str(work.workflow),
                        work.lease.miner if work.lease else "",
                        str(work.attempts),
                        _duration(now - (work.lease.began if work.lease else now)),
                        _progress(work.progress),
                    )
                    for work in running[:_MOST_ROWS]
                ),
                "No task runs.",
            ),
            _table(
                "Recent",
                ("Task", "Workflow", "End", "Miner", "Attempts", "Took", "Ago"),
                (
                    (
                        f"{row['task_id'][:8]}…",
                        str(Workflow(row["task_type"], row["workflow_id"])),
                        row["outcome"] or "",
                        row["miner"] or "",
                        str(row["attempts"]),
                        _duration(row["ended"] - row["create_timestamp"]),
                        _duration(now - row["ended"]),
                    )
                    for row in self._store.recent(_RECENT)
                ),
                "No task has ended.",
            ),
        ]
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Xalora sequencer</title><style>{_STYLE}</style></head><body><h1>Xalora sequencer</h1>"
            f"{''.join(parts)}<p>Version {escape(__version__)}</p></body></html>"
        )

    def _miner(self, miner: Miner, now: float) -> tuple[str, ...]:
        if not miner.is_alive(now):
            state = f"gone for {_duration(now - miner.seen)}"
        else:
            state = "busy" if miner.holds else "idle"
        software = " ".join(miner.software.values())
        return (miner.name, state, ", ".join(miner.abilities.names()[:20]), str(miner.done), software)


def _table(title: str, head: Iterable[str], rows: Iterable[Iterable[str]], empty: str) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return f"<h2>{title}</h2><p>{empty}</p>"
    names = "".join(f"<th>{name}</th>" for name in head)
    return f"<h2>{title}</h2><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"


def _progress(progress: dict[str, object] | None) -> str:
    return "" if progress is None else f"{progress['value']:g} of {progress['maximum']:g}"
