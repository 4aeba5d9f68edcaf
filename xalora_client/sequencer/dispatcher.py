"""Gives each task to a miner, and sees it to its end. Every kind of miner works through this.

Tasks wait in their order of arrival. A miner gets the oldest that it can run, under a lease. A lease that runs out puts
the task back to the head of the queue, at most three times. What is decided here is written to the store first.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial

from .clock import Clock
from .miners import Miner, Place, best_place
from .observer import Observer
from .progress import forget_progress
from .store import Store
from .timers import Timers
from .tokens import Tokens
from .waiting_queue import WaitingQueue
from .work import ATTEMPTS, Lease, Work

LEASE_SECONDS = 30.0
TIMED_OUT = "timed out: it did not finish within its timeout_seconds"


class LeaseOver(Exception):  # noqa: N818 - an answer, not a failure of this program
    """The lease does not, or no longer, give a right to the task. ``why``: "canceled", "timed out" or "lost"."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Dispatcher:
    """The open tasks, the miners that wait, and the leases. Use it inside one event loop."""

    def __init__(self, store: Store, clock: Clock, observers: list[Observer]) -> None:
        self._store = store
        self._clock = clock
        self._observers = observers
        self._open: dict[str, Work] = {}
        self._places: list[Place] = []
        self.stopped = False
        self.queue = WaitingQueue()
        self.tokens = Tokens()
        self._timers = Timers(clock, self._lose)
        self.miners: dict[str, Miner] = {}

    def load(self, *, keep_leases: bool) -> list[Work]:
        """Take up what an earlier process left; return the tasks whose inputs are not here.

        Running tasks get a fresh lease. Without ``keep_leases`` they wait again, for their miners were inside the
        process that ended.
        """
        for work in self._store.open_tasks():
            self._open[work.task_id] = work
            if work.status == "running" and not (keep_leases and work.lease is not None):
                self._store.set_status(work, "waiting", 0, forget=True)
                work.status, work.attempts, work.lease, work.upload = "waiting", 0, None, None
            if work.lease is not None:
                self.tokens.add(work, work.lease)
                work.lease.heard, work.lease.until = False, self._clock.time()
            if work.status == "running" and work.lease is not None:
                self._timers.extend(work, work.lease, LEASE_SECONDS)
            elif work.ready:
                self.queue.add(work)
            work.change(self._clock.time())
            self._watch_deadline(work)
        return [work for work in self._open.values() if work.status == "waiting" and not work.ready]

    # For consumers.

    def add(self, work: Work) -> None:
        """Take a new task. It waits for its inputs until ``begin_waiting``."""
        self._open[work.task_id] = work
        self._watch_deadline(work)

    def begin_waiting(self, work: Work) -> None:
        """The task's inputs are here: it may begin."""
        if self._open.get(work.task_id) is work and not work.ready:
            work.ready = True
            self._offer(work)

    def find(self, task_id: str) -> Work | None:
        """The task, unless it has ended."""
        return self._open.get(task_id)

    def running(self) -> list[Work]:
        """The tasks that miners carry out."""
        return [work for work in self._open.values() if work.status == "running"]

    async def watch(self, task_id: str, after: int, seconds: float) -> None:
        """Wait until the task's revision is greater than ``after`` or it has ended, at most so many seconds."""
        work = self._open.get(task_id)
        if work is not None and work.revision <= after and seconds > 0 and not self.stopped:
            await work.watchers.wait(self._clock, seconds)

    def cancel(self, task_id: str) -> bool:
        """Cancel a task and tell its miner. False if it had already ended."""
        return self.give_up(task_id, "canceled", "canceled", "canceled on request")

    def give_up(self, task_id: str, status: str, outcome: str, msg: str) -> bool:
        """End a task as failed or canceled. False if it had already ended."""
        work = self._open.get(task_id)
        if work is None:
            return False
        now = self._clock.time()
        self._store.give_up(task_id, status, outcome, msg, revision=work.next_revision(now), now=now)
        self._end(work, outcome)
        return True

    # For miners.

    async def take(
        self, miner: Miner, seconds: float, is_open: Callable[[], bool] = lambda: True
    ) -> tuple[Work, Lease] | None:
        """Give the miner the oldest task that it can run, waiting at most so many seconds for one.

        A task whose holder was never heard of after it was given is given to it again, because the answer was lost.
        That does not renew the lease: some miner may never be able to read the answer. A request of the same miner that
        still waits ends without a task. ``is_open`` says whether an answer would arrive.
        """
        for work in miner.holds:
            if work.lease is not None and not work.lease.heard and miner.lease_seconds is not None:
                return work, work.lease
        for place in [
            place for place in self._places if place.miner.name == miner.name and miner.lease_seconds is not None
        ]:
            self._places.remove(place)
            place.leave()
        oldest = self.queue.oldest(miner.abilities.runs, miner.abilities.accepts)
        if oldest is not None:
            return oldest, self._assign(oldest, miner)
        if seconds <= 0 or self.stopped:
            return None
        place = Place(miner, self._clock.time(), is_open)
        self._places.append(place)
        try:
            await place.wait(self._clock, seconds)
        except asyncio.CancelledError:
            if place.given is not None:
                self.give_back(place.given[0].task_id, place.given[1].token, counts=False)
            raise
        finally:
            if place in self._places:
                self._places.remove(place)
        return place.given

    def hold(self, task_id: str, token: str, miner: str | None = None) -> Work:
        """The task that this lease is for; renews it. Raises LeaseOver.

        A lease that ran out is taken up again as long as nobody else has begun the task.
        """
        work = self._open.get(task_id)
        lease = None if work is None else work.lease
        if work is None or lease is None or lease.token != token or (miner is not None and lease.miner != miner):
            end = self._store.end_of(task_id)
            raise LeaseOver(end[0] if end is not None and end[1] == token and end[0] in _STOPS else "lost")
        if work.status == "waiting":
            self._store.set_status(work, "running", work.attempts)
            self.queue.discard(work)
            work.status, lease.over = "running", None
            self._held(work, lease)
            work.change(self._clock.time())
        lease.heard = True
        if lease.until is not None:
            self._timers.extend(work, lease, self._lease_seconds(lease))
        return work

    def set_upload(self, work: Work, file: str) -> None:
        """The present attempt has uploaded its result."""
        self._store.set_upload(work.task_id, file)
        work.upload = file

    def finish(
        self, work: Work, media: str, file: str, latencies: tuple[float | None, float | None], msg: str | None = None
    ) -> None:
        """End a task with its result: the name in its address, the file, and the seconds of inference and upload.

        ``msg`` is what there is to say of it, such as that there were more files.
        """
        now = self._clock.time()
        self._store.finish(work.task_id, media, file, latencies, msg, revision=work.next_revision(now), now=now)
        if work.lease is not None and work.lease.miner in self.miners:
            self.miners[work.lease.miner].done += 1
        self._end(work, "finished")

    def give_back(self, task_id: str, token: str, *, counts: bool, why: str | None = None) -> None:
        """The holder cannot go on. Back to the head of the queue; ``counts`` is whether it was an attempt.

        ``why`` is what it says of that, for when no attempts are left. Raises LeaseOver.
        """
        work = self.hold(task_id, token)
        work.trouble = why or work.trouble
        self._lose(work, counts=counts, forget=True)

    def stop(self) -> None:
        """End all waits; what is asked afterwards does not wait."""
        self.stopped = True
        for place in self._places:
            place.leave()
        for work in self._open.values():
            work.watchers.wake()
            if work.lease is not None:
                work.lease.watchers.wake()

    # Inside.

    def _offer(self, work: Work) -> None:
        """Give a waiting task to the best miner that waits, or put it in the queue."""
        place = best_place(self._places, work)
        if place is None:
            self.queue.add(work)
            return
        try:
            lease = self._assign(work, place.miner)
        except sqlite3.Error:  # The disk is full. The next miner that asks gets it, or is told.
            self.queue.add(work)
            return
        self._places.remove(place)
        place.give(work, lease)

    def _assign(self, work: Work, miner: Miner) -> Lease:
        lease = Lease.new(miner.name, work.attempts + 1, self._clock.time())
        self._store.begin(work, lease)
        self.queue.discard(work)
        self.miners.setdefault(miner.name, miner)
        if work.lease is not None:
            self.tokens.discard(work.lease)
        self.tokens.add(work, lease)
        work.status, work.attempts, work.lease, work.upload = "running", lease.attempt, lease, None
        forget_progress(work)
        if miner.lease_seconds is not None:
            self._timers.extend(work, lease, miner.lease_seconds)
        self._held(work, lease)
        miner.latest = work.workflow
        miner.ran[work.workflow] = lease.began
        work.change(lease.began)
        return lease

    def _held(self, work: Work, lease: Lease) -> None:
        if lease.miner in self.miners:
            self.miners[lease.miner].holds.add(work)

    def _lease_seconds(self, lease: Lease) -> float:
        miner = self.miners.get(lease.miner)
        return LEASE_SECONDS if miner is None or miner.lease_seconds is None else miner.lease_seconds

    def _lose(self, work: Work, *, counts: bool = True, forget: bool = False) -> None:
        """An attempt is over without an end of the task."""
        for observer in self._observers:
            observer.attempt_lost(work)
        if counts and work.attempts >= ATTEMPTS:
            last = f" ({work.trouble})" if work.trouble else ""
            msg = f"failed after {ATTEMPTS} attempts: each time its miner was lost{last}. Submit it again as a new task"
            self.give_up(work.task_id, "failed", "lost", msg)
            return
        attempts = work.attempts if counts else work.attempts - 1
        self._store.set_status(work, "waiting", attempts, forget=forget)
        self._release(work, "lost")
        work.status, work.attempts = "waiting", attempts
        forget_progress(work)
        if forget and work.lease is not None:
            self.tokens.discard(work.lease)
            work.lease = work.upload = None
        work.change(self._clock.time())
        self._offer(work)

    def _release(self, work: Work, why: str) -> None:
        if work.lease is not None:
            if work.lease.miner in self.miners:
                self.miners[work.lease.miner].holds.discard(work)
            work.lease.end(why)

    def _end(self, work: Work, outcome: str) -> None:
        del self._open[work.task_id]
        self.queue.discard(work)
        if work.lease is not None:
            self.tokens.discard(work.lease)
        self._release(work, outcome if outcome in _STOPS else "lost")
        forget_progress(work)
        if work.timer is not None:
            work.timer.cancel()
        work.status = "ended"
        work.change(self._clock.time())
        for observer in self._observers:
            observer.task_ended(work, outcome, self._clock.time())

    def _watch_deadline(self, work: Work) -> None:
        if work.deadline is not None:
            end = partial(self.give_up, work.task_id, "failed", "timed out", TIMED_OUT)
            work.timer = self._timers.at(work.deadline, end)


_STOPS = ("canceled", "timed out")
