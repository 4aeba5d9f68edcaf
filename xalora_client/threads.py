"""Threads for event loops, also where gevent has replaced the threads of ``threading`` by greenlets.

All greenlets share one thread of the system, in which only one event loop can run.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def loop_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """A daemon thread of the system, to be started."""
    kind = threading.Thread if _gevent() is None else _ThreadBesideGevent
    return kind(target=target, name=name, daemon=True)


def put_from_threads(queue: SimpleQueue[T]) -> Callable[[T], object]:
    """What puts something into a queue of this thread, from any thread. gevent's queues belong to one each."""
    gevent = _gevent()
    return queue.put if gevent is None else partial(gevent.get_hub().loop.run_callback_threadsafe, queue.put)


def _gevent() -> Any:
    """The module gevent, if it has replaced threads, or None."""
    monkey = sys.modules.get("gevent.monkey")
    return sys.modules["gevent"] if monkey is not None and monkey.is_module_patched("threading") else None


class _ThreadBesideGevent(threading.Thread):
    """A thread of the system, in which gevent has a hub of its own."""

    _running: Any = None

    def start(self) -> None:
        gevent = _gevent()
        gevent.get_hub()  # The first hub loads modules under locks that a second hub would wait for.
        start, lock = gevent.monkey.get_original("_thread", ["start_new_thread", "allocate_lock"])
        self._ran = threading.Event()
        self._running = lock()
        self._running.acquire()
        try:
            start(self._run_and_end, (gevent,))
        except BaseException:
            self._running.release()
            raise

    def _run_and_end(self, gevent: Any) -> None:
        try:
            self.run()
        finally:
            self._ran.set()
            gevent.get_hub().destroy(destroy_loop=True)
            self._running.release()

    def join(self, timeout: float | None = None) -> None:
        """Other greenlets run meanwhile, but for the last moment: a hub that is left when Python ends crashes it."""
        if self._ran.wait(timeout):
            with self._running:
                pass

    def is_alive(self) -> bool:
        return self._running is not None and bool(self._running.locked())
