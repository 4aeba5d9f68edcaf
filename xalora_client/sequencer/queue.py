"""The task queue: what can be done with tasks, and the rules for it. All else in the sequencer works through this.

Consumers take turns, and the tasks of one wait in their order of arrival. A miner gets one task at a time, under a
lease. A task whose lease runs out goes back to the head of the queue, rather to another miner; after its third lost
attempt it fails. What is decided here is written to the database first. Times are those of a clock that never jumps,
but for what is written down.

Another engine, on a database over a network, would replace ``TaskQueue``: its methods take and return the plain values
of ``values.py``, and each is one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial
from secrets import compare_digest
from typing import Any

from ..errors import InvalidParameterError
from ..workflows import Capability, WorkflowKey, WorkflowList
from .available import list_workflows
from .clock import Clock, Timer
from .database import Database
from .database_file import waits_for_others
from .miners import Capabilities, MinerRecord, Miners, PendingPoll, best_poll
from .open_task import ATTEMPTS, Group, Lease, OpenTask
from .options import MOST_WAITING
from .reasons import LOST, Reasons
from .values import (
    Attempt,
    CreateOutcome,
    InputFetch,
    InputFile,
    LeaseId,
    LeaseLost,
    NewTask,
    NoSuchTaskError,
    NotRegisteredError,
    NotUploadedError,
    Occupied,
    Overview,
    Result,
    StoreError,
    TaskView,
)
from .waiting import Amounts, WaitingTasks

logger = logging.getLogger(__name__)

LEASE_SECONDS = 30.0
TIMED_OUT = "timed out: it did not finish within its timeout_seconds"
WITHDRAWN = "canceled: the key of its consumer was withdrawn"
KEPT_RESULT_SECONDS = 3600.0
"""A result stays at least so long, even beyond the budget."""

_DEATHS = 2
"""After so many ComfyUIs ended while they ran a task, it fails: it would end the others as well."""

_RETURNS = 10
"""So often a task may be given back by miners that stop; from then on it counts as lost."""

_AVOIDED_SECONDS = 60.0
"""For so long a task that came back from a miner rather goes to others."""

_AT_ONCE = 10
"""Tasks that are read or checked before others get their answers."""

_LONGEST_PUBLIC_SECONDS = 3600.0
_RETRY_SECONDS = 5.0
_STOP_REASONS = ("canceled", "timed out")
_INPUT, _UPLOAD, _MEDIA = "input", "upload", "media"
_ID_LENGTH = 32


@waits_for_others
class TaskQueue:
    """The tasks of one data folder, and the miners. Use it inside one event loop.

    Each method raises StoreError when the database cannot be read or written. What a method has promised by its return
    is on the disk.

    Args:
        database: Where tasks are kept.
        clock: The time.
        workflows: What may be asked for although no miner has been here with it yet.
        most_waiting: How many tasks of one owner may wait.

    Attributes:
        stopped: Whether ``stop`` was called.
        on_end: Called when a task ends, with its workflow, the outcome ("finished", "error", "canceled", "timed out" or
            "lost"), and how many seconds its last attempt took; None where there was none.
        on_attempt_lost: Called with the workflow of each attempt that is over without an end of its task.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        workflows: Iterable[WorkflowKey] = (),
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.stopped: bool = False
        self.on_end: Callable[[WorkflowKey, str, float | None], object] = lambda workflow, outcome, seconds: None
        self.on_attempt_lost: Callable[[WorkflowKey], object] = lambda workflow: None
        self._database = database
        self._clock = clock
        self._capabilities = Capabilities(database, workflows, clock)
        self._miners = Miners(self._capabilities, clock)
        self._owners: Set[bytes] | None = None
        self._open: dict[str, OpenTask] = {}
        self._waiting = WaitingTasks()
        self._amounts = Amounts(most_waiting)
        self._is_loaded = False
        self._in_background: set[asyncio.Task[None]] = set()
        self._awaiting_inputs: asyncio.Queue[OpenTask] = asyncio.Queue()
        self._polls: list[PendingPoll] = []
        self._overviews, self._listings = asyncio.Lock(), asyncio.Lock()
        self._reasons = Reasons(self._miners, clock)

    async def start(self, *, keep_leases: bool) -> None:
        """Continue the tasks of an earlier process.

        Running tasks get a new lease. Without ``keep_leases`` they wait again, for their miners were inside the process
        that ended. Those that wait are read in the background: there may be many.
        """
        for task in self._database.running_tasks():
            if not keep_leases:
                self._database.set_status(task.task_id, "waiting", 0, drop_lease=True)
                task.status, task.attempts, task.lease, task.uploads = "waiting", 0, None, ()
            self._enter(task, is_new=False)
        self._run_in_background(self._load())

    async def stop(self) -> None:
        """End all waits. Later calls do not wait."""
        self.stopped = True
        for background in self._in_background:
            background.cancel()
        for poll in self._polls:
            poll.watchers.wake()
        for task in self._open.values():
            task.watchers.wake()
            if task.lease is not None:
                task.lease.watchers.wake()

    # For consumers.

    def owner(self, api_key: str) -> bytes:
        """The owner of the tasks that are created with this key."""
        return self._database.owner(api_key)

    async def find_by_job_id(self, owner: bytes, consumer_id: str, job_id: str) -> str | None:
        """The task that was created with this job id; None if there is none."""
        task_id = self._database.find_by_job_id(owner, consumer_id, job_id)
        if task_id is not None:
            await self._database.flush()
        return task_id

    async def create(self, new: NewTask) -> CreateOutcome:
        """Add a task, unless its job id is known. It waits for its inputs first, if it has any.

        Raises TooManyError.
        """
        if (known := await self.find_by_job_id(new.owner, new.consumer_id, new.job_id)) is not None:
            return CreateOutcome(known, is_new=False)
        self._amounts.check(new.owner)
        task = self._database.create(new, self._clock.time())
        self._note_capabilities(task, new.details["parameters"])
        why, _ = self._reasons.of(task)
        self._enter(task)
        if why is not None:
            task.change(self._clock.time())  # The first query does not wait for a change: its answer says why.
        await self._database.flush()
        return CreateOutcome(task.task_id, is_new=True, why_waiting=why)

    async def query(self, task_id: str, owner: bytes, after: int = -1) -> TaskView:
        """A task that this owner created. Previews older than ``after`` are left out. Raises NoSuchTaskError."""
        view = self._view(task_id, owner, after)
        if not view.is_open:
            await self._database.flush()
        return view

    async def watch(self, task_id: str, after: int, seconds: float) -> None:
        """Wait until the task's revision is greater than ``after`` or it has ended, at most so many seconds."""
        task = self._find(task_id)
        if task is not None and task.revision <= after and seconds > 0 and not self.stopped:
            if self._reasons.has_news(task):
                return
            await task.watchers.wait(self._clock, seconds)

    async def cancel(self, task_id: str, owner: bytes) -> TaskView:
        """End a task unless it has ended, and stop its miner. Returns it as it was before. Raises NoSuchTaskError."""
        before = self._view(task_id, owner)
        self._end(task_id, "canceled", "canceled", "canceled on request")
        await self._database.flush()
        return before

    async def workflow_names(self) -> str:
        """The workflows that may be asked for, as a list in words; empty where there are none."""
        return self._capabilities.names

    async def has_workflow(self, workflow: WorkflowKey) -> bool:
        """Whether it may be asked for."""
        return workflow in self._capabilities

    async def list_workflows(self, task_type: str | None = None, workflow_id: str | None = None) -> WorkflowList:
        """What the connected miners run, and what else may be asked for; of one task type or workflow id, if given."""
        async with self._listings:  # With many miners one takes a while: others get a turn before the next.
            miners = [miner.name for miner in self._miners.alive()]
            found = await list_workflows(self._capabilities, miners, task_type, workflow_id)
        asked = task_type and WorkflowKey(task_type, workflow_id)
        return replace(found, left_out=self._reasons.left_out(asked) if asked else None, miners=len(miners))

    async def why_left_out(self, workflow: WorkflowKey) -> str | None:
        """What a connected miner lacks for it, in words; None where none has told."""
        return self._reasons.left_out(workflow)

    async def all_left_out(self) -> list[str]:
        """The same for every workflow that no connected miner runs, each behind the workflow's name."""
        return self._reasons.all_left_out()

    async def check(self, workflow: WorkflowKey, parameters: Mapping[str, Any]) -> set[str]:
        """The names of the parameters that may be images. Raises InvalidParameterError when no miner takes these."""
        self._capabilities.check(workflow, parameters)
        images = [capability.images for capability in self._capabilities.of(workflow)]
        return set().union(*images) if images else {"image"}

    async def find_miner(self, workflow: WorkflowKey | None) -> str | None:
        """The least busy connected miner that runs the workflow, or any; None if there is none."""
        fitting = [miner for miner in self._miners.alive() if workflow is None or miner.runs(workflow)]
        return min(fitting, key=lambda miner: len(miner.tasks)).name if fitting else None

    async def find_media(self, media: str, owner: bytes | None = None, *, number: int = 1) -> str | None:
        """The file behind the name in a result's address, of a task of this owner if one is given. None if unknown.

        ``number`` says which of several results it is.
        """
        return self._database.find_media(media, number, self._owners if owner is None else {owner})

    # For the fetching of inputs.

    async def next_fetch(self) -> InputFetch:
        """A task whose inputs are to be fetched; waits for one."""
        while (task := await self._awaiting_inputs.get()).status == "ended":
            pass
        return InputFetch(task.task_id, task.owner, task.revision)

    async def input_urls(self, task_id: str) -> dict[str, str]:
        """The addresses of a task's inputs, by parameter; none once it has ended."""
        return self._database.input_urls(task_id) if task_id in self._open else {}

    async def end_fetch(self, task_id: str, inputs: Mapping[str, InputFile]) -> None:
        """The inputs of a task are here, so it can run."""
        task = self._find(task_id)
        if task is not None and not task.ready:
            self._database.set_inputs(task_id, inputs)
            task.ready = True
            self._note_capabilities(task)
            task.change(self._clock.time())  # Only now it can be told what it waits for.
            self._dispatch(task)

    async def fail_fetch(self, task_id: str, msg: str) -> None:
        """The inputs of a task cannot be fetched, so it fails."""
        self._end(task_id, "failed", "error", msg)

    async def input_files(self) -> set[str]:
        """The names of all input files that are needed."""
        return await self._database.input_files()

    # For miners.

    async def register(
        self,
        name: str,
        instance: str,
        capabilities: Iterable[Capability],
        software: Mapping[str, str],
        left_out: Mapping[tuple[str, str | None], str],
    ) -> None:
        """Add a miner. Raises NameTakenError when another process with its name is here.

        Tasks that were created before their parameters could be checked, and are not allowed, end soon.
        """
        by_workflow = {capability.key: capability for capability in capabilities}
        miner = MinerRecord(name, instance, by_workflow, software=software, left_out=left_out)
        added = self._miners.register(miner)
        self._reasons.report_soon()
        if added:
            unchecked = deque(task for task in self._open.values() if task.workflow in added)
            with suppress(StoreError):  # It is tried again in the background.
                self._check_some(unchecked)
            self._run_in_background(self._check_all(unchecked))

    async def register_local(self, name: str) -> None:
        """Add a miner inside this process. It runs everything, and its leases do not expire."""
        self._miners.register(MinerRecord(name, name, is_local=True))

    async def note_occupied(self, name: str, instance: str | None, occupied: Occupied) -> None:
        """A miner does not ask for tasks for now. Raises NotRegisteredError."""
        miner = self._miners.find(name, instance)
        if miner is None:
            raise NotRegisteredError(name)
        self._set_occupied(miner, occupied)

    async def renew_public(self, name: str, workflow_ids: frozenset[str]) -> str | None:
        """Note a request of a miner of the public kind, which never registers. Returns the task that it runs, or None.

        It sends no heartbeats, but keeps asking while it works: that renews its lease. Not forever, because it also
        keeps asking when the task never reached it, or when its submit was lost. Raises NameTakenError when a
        registered miner has its name.
        """
        miner = self._miners.find(name, None)
        if miner is None or miner.workflow_ids != workflow_ids:
            miner = MinerRecord(name, None, workflow_ids=workflow_ids)
            self._miners.register(miner)
        for task in list(miner.tasks):
            if task.lease is None:
                continue
            if self._clock.monotonic() - task.lease.since <= _LONGEST_PUBLIC_SECONDS:
                self._renew_lease(LeaseId(task.task_id, task.lease.token))
                return task.task_id
            self._attempt_lost(task, drop_lease=True)
        return None

    async def claim_next(
        self, name: str, instance: str | None, *, seconds: float = 0.0, is_connected: Callable[[], bool] = lambda: True
    ) -> Attempt | None:
        """Give a miner the next task that it can run, waiting at most so many seconds for one.

        A miner that has not acknowledged its task gets it again, because the answer was lost. That does not renew the
        lease: some miner may never be able to read the answer. One that has acknowledged it gets no other. A request of
        the same miner that still waits ends without a task.

        ``instance`` is None for the public kind. ``is_connected`` says whether its connection is still open. Raises
        NotRegisteredError.
        """
        miner = self._miners.find(name, instance)
        if miner is None:
            raise NotRegisteredError(name)
        self._set_occupied(miner, None)
        with self._miners.listening(name, is_connected):
            claimed = await self._claim(miner, seconds, is_connected)
        if claimed is None:
            return None
        attempt = self._attempt(*claimed)
        await self._database.flush()
        return attempt

    async def renew(
        self,
        lease: LeaseId,
        progress: tuple[dict[str, Any], str | None] | None = None,
        *,
        seconds: float = 0.0,
        is_connected: Callable[[], bool] = lambda: True,
    ) -> None:
        """Renew a lease, and wait for its end at most so many seconds. Raises LeaseLost.

        A lease that expired is renewed as well, as long as nobody else has begun the task. ``progress`` is how far the
        task is, and a preview.
        """
        self._miners.mark_seen(lease.miner)
        task = self._renew_lease(lease)
        if progress is not None:
            task.report(*progress, self._clock)
        if seconds <= 0 or self.stopped or task.lease is None:
            return
        with self._miners.listening(lease.miner, is_connected):
            await task.lease.watchers.wait(self._clock, seconds)
        if is_connected() and not self.stopped:
            self._renew_lease(lease)

    async def public_lease(self, name: str, task_id: str) -> str | None:
        """The lease of a miner of the public kind, which does not know it; None if it does not have the task."""
        miner, task = self._miners.get(name), self._open.get(task_id)
        if miner is None or miner.instance is not None or task is None or task.lease is None:
            return None
        return task.lease.token

    async def inputs_at(self, token: str) -> tuple[InputFile, ...] | None:
        """The inputs of the attempt that got this input token; None when it is over."""
        task = self._by_token(token, _INPUT)
        return None if task is None else tuple(self._database.inputs(task.task_id).values())

    async def renew_upload(self, token: str) -> tuple[LeaseId, dict[str, int]]:
        """Renew the lease of the attempt that got this upload token. Raises LeaseLost.

        Returns the lease, and the sizes in bytes of the files that the attempt has uploaded before.
        """
        task = self._by_token(token, _UPLOAD)
        if task is None or task.lease is None:
            raise LeaseLost("lost")
        lease = LeaseId(task.task_id, task.lease.token)
        return lease, self._database.sizes(self._renew_lease(lease).uploads)

    async def expects_upload(self, token: str) -> bool:
        """Whether this upload token's attempt is not over."""
        return self._by_token(token, _UPLOAD) is not None

    async def attach_result(self, lease: LeaseId, file: str, size: int) -> None:
        """This attempt has uploaded a file of so many bytes, which can be submitted now. Raises LeaseLost."""
        task = self._renew_lease(lease)
        uploads = tuple(dict.fromkeys((*task.uploads, file)))
        self._database.attach_result(task.task_id, uploads, file, size, self._time())
        task.uploads = uploads
        await self._database.flush()

    async def finish(self, lease: LeaseId, result: Result) -> bool:
        """End a task with its result. False if this was submitted before.

        Raises LeaseLost, and NotUploadedError when its files are not what this attempt uploaded.
        """
        return await self._submit(lease, partial(self._finish, result=result))

    async def requeue(self, lease: LeaseId, reason: str, why: str | None = None) -> bool:
        """Put a task back to the head of the queue, for another miner if there is one. False if an end was submitted.

        ``reason`` is "lost", which counts as an attempt; "stopping", which does not; "died", which ends the task the
        second time; or "unable", after which another miner gets it once. ``why`` becomes a part of the message when it
        fails so. Raises LeaseLost.
        """
        return await self._submit(lease, partial(self._return, reason=reason, why=why))

    async def end(self, lease: LeaseId, msg: str) -> bool:
        """End a task as failed, for this reason. False if this was submitted before. Raises LeaseLost.

        Where the miner is not well, another gets the task once.
        """
        return await self._submit(lease, partial(self._fail, msg=msg))

    # For people, and for cleaning up.

    async def overview(self, recent: int = 0) -> Overview:
        """The miners and tasks, with so many of the tasks that ended last."""
        async with self._overviews:  # With many miners one takes a while: others get a turn before the next.
            await asyncio.sleep(0)
        now = self._clock.monotonic()
        return Overview(
            tuple(miner.view(now) for miner in self._miners),
            self._waiting.lengths(),
            tuple(task.view(task.lease, now) for task in self._miners.running() if task.lease is not None),
            self._database.ended_tasks(recent, self._time()),
        )

    async def withdraw_others(self, owners: frozenset[bytes]) -> int:
        """From now on only these owners count. The open tasks of others end; returns how many.

        Results of others are hidden, not removed: their key may come back. Their images must be uploaded again.
        """
        self._owners = owners
        with self._database.transaction():
            withdrawn = self._database.withdraw_others(owners)
            for task_id in withdrawn:
                self._end(task_id, "canceled", "canceled", WITHDRAWN)
        await self._database.flush()
        return len(withdrawn)

    async def forget_old_tasks(self) -> None:
        """Forget tasks that ended long ago."""
        await self._database.forget_tasks(self._time())

    async def results_over(self, budget: int) -> list[str]:
        """Some of the oldest results, without which the rest fits into so many bytes, but none of the last hour."""
        return await self._database.results_over(budget, self._time() - KEPT_RESULT_SECONDS)

    async def forget_result(self, file: str) -> None:
        """A result file was removed."""
        self._database.forget_result(file)

    # The rules.

    def _time(self) -> float:
        return self._database.steady_time(self._clock)

    def _view(self, task_id: str, owner: bytes, after: int = -1) -> TaskView:
        view, task = self._database.find(task_id, owner), self._find(task_id)
        if view is None:
            raise NoSuchTaskError(task_id)
        if task is None:
            return view
        view = replace(view, revision=task.revision, progress=task.progress_after(after))
        if task.status != "waiting" or not task.ready:
            return view
        why, blocked_by = self._reasons.of(task)
        lost = LOST if task.attempts else None
        return replace(view, msg="; ".join(filter(None, [lost, why])) or None, blocked_by=blocked_by)

    def _set_occupied(self, miner: MinerRecord, occupied: Occupied | None) -> None:
        """Note whether a miner asks for tasks, and let those who wait for it know."""
        if miner.occupied != occupied:
            miner.occupied = occupied
            self._reasons.report_soon()

    def _find(self, task_id: str) -> OpenTask | None:
        """The task if it has not ended."""
        task = self._open.get(task_id)
        if task is None and not self._is_loaded and (task := self._database.waiting_task(task_id)) is not None:
            self._enter(task, is_new=False)
        return task

    def _enter(self, task: OpenTask, *, is_new: bool = True) -> None:
        """A task is new, or was read from the database."""
        now, passed = self._clock.monotonic(), 0.0 if is_new else max(0.0, self._time() - task.created)
        self._open[task.task_id] = task
        if task.timeout_seconds is not None:
            task.deadline = now + max(0.0, task.timeout_seconds - passed)
            task.timer = self._call_at(task.deadline, partial(self._time_out, task))
        if task.ready:
            self._note_capabilities(task)
        if task.lease is not None:
            task.lease.since = now - max(0.0, self._time() - task.lease.began)
        if task.status == "running" and task.lease is not None:
            self._miners.tasks_of(task.lease.miner).add(task)
            self._extend(task, task.lease)
        else:
            self._amounts.count(task, 1)
            if task.ready:
                self._dispatch(task)
            else:
                self._awaiting_inputs.put_nowait(task)
        if not is_new:
            task.change(self._clock.time())

    async def _load(self) -> None:
        """Read the tasks that wait, the oldest first."""
        last = 0
        while not self._is_loaded:
            try:
                tasks = self._database.waiting_tasks(last, _AT_ONCE)
                for task in tasks:
                    if task.task_id not in self._open:
                        self._enter(task, is_new=False)
                    last = task.number
                self._is_loaded = not tasks
            except StoreError:
                logger.exception("The database cannot be read")
                await self._clock.sleep(_RETRY_SECONDS)
            await asyncio.sleep(0)

    def _check_some(self, unchecked: deque[OpenTask]) -> None:
        """Check the next tasks against new capabilities."""
        for _ in range(min(_AT_ONCE, len(unchecked))):
            task = unchecked[0]
            if task.ready and task.status != "ended":
                before = len(task.accepted)
                self._note_capabilities(task)
                if task.group is not None and len(task.accepted) > before:
                    self._waiting.discard(task)
                    self._dispatch(task)
                self._end_if_nobody_takes(task)
            unchecked.popleft()

    async def _check_all(self, unchecked: deque[OpenTask]) -> None:
        while unchecked:
            try:
                self._check_some(unchecked)
            except StoreError:
                logger.exception("The database cannot be read")
                await self._clock.sleep(_RETRY_SECONDS)
            await asyncio.sleep(0)

    def _run_in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._in_background.add(task)
        task.add_done_callback(self._in_background.discard)

    def _note_capabilities(self, task: OpenTask, parameters: Mapping[str, Any] | None = None) -> None:
        """Note which capabilities accept the task's parameters. A capability is checked once for a task."""
        known = self._capabilities.of(task.workflow)
        new = [capability for capability in known if capability.digest not in task.accepted]
        if new:
            parameters = self._database.parameters(task.task_id) if parameters is None else parameters
            task.accepted |= {capability.digest: capability.accepts(parameters) for capability in new}

    def _end_if_nobody_takes(self, task: OpenTask) -> None:
        is_accepted = any(task.accepted[capability.digest] for capability in self._capabilities.of(task.workflow))
        if task.status == "waiting" and task.ready and not is_accepted:
            try:
                self._capabilities.check(task.workflow, self._database.parameters(task.task_id))
            except InvalidParameterError as error:
                self._end(task.task_id, "failed", "error", str(error))

    def _dispatch(self, task: OpenTask) -> None:
        """Give a waiting task to the best miner that waits, or put it in the queue."""
        poll = best_poll(self._polls, task, self._miners)
        if poll is None:
            self._waiting.add(task)
            return
        try:
            lease = self._start_attempt(task, poll.miner)
        except StoreError:  # The disk is full. The next miner that asks gets it, or an error.
            self._waiting.add(task)
            return
        self._polls.remove(poll)
        poll.claimed = (task, lease)
        poll.watchers.wake()

    async def _claim(
        self, miner: MinerRecord, seconds: float, is_connected: Callable[[], bool]
    ) -> tuple[OpenTask, Lease] | None:
        if not miner.is_local:
            for task in miner.tasks:
                if task.lease is not None:
                    return None if task.lease.acknowledged else (task, task.lease)
            for poll in [poll for poll in self._polls if poll.miner.name == miner.name]:
                self._polls.remove(poll)
                poll.watchers.wake()
        waiting = self._waiting.next(partial(self._gets, miner), partial(self._gets_again, miner))
        if waiting is not None:
            return waiting, self._start_attempt(waiting, miner)
        if seconds <= 0 or self.stopped:
            return None
        poll = PendingPoll(miner, self._clock.monotonic(), is_connected)
        self._polls.append(poll)
        try:
            await poll.watchers.wait(self._clock, seconds)
        except asyncio.CancelledError:
            if poll.claimed is not None:
                task, lease = poll.claimed
                with suppress(LeaseLost):
                    await self.requeue(LeaseId(task.task_id, lease.token), "stopping")
            raise
        finally:
            if poll in self._polls:
                self._polls.remove(poll)
        return poll.claimed if poll.claimed is not None and poll.claimed[1].over is None else None

    def _gets(self, miner: MinerRecord, group: Group) -> bool:
        return miner.fits(group) and self._miners.gets(miner, lambda other: other.fits(group))

    def _gets_again(self, miner: MinerRecord, task: OpenTask) -> bool:
        return miner.can_run(task) and self._miners.gets(miner, lambda other: other.can_run(task), task)

    def _attempt(self, task: OpenTask, lease: Lease) -> Attempt:
        miner = self._miners.get(lease.miner)
        return Attempt(
            LeaseId(task.task_id, lease.token, lease.miner),
            task.workflow,
            self._database.parameters(task.task_id),
            self._database.inputs(task.task_id),
            lease.attempt,
            lease.prompt_id,
            None if task.deadline is None else max(0.0, task.deadline - self._clock.monotonic()),
            _token(task, lease, _INPUT),
            _token(task, lease, _UPLOAD),
            is_public=miner is not None and miner.instance is None,
        )

    def _start_attempt(self, task: OpenTask, miner: MinerRecord) -> Lease:
        lease = Lease(miner.name, task.attempts + 1, self._clock.time(), self._clock.monotonic())
        self._database.begin(task.task_id, lease)
        self._waiting.discard(task)
        self._amounts.count(task, -1)
        if not task.was_begun:
            self._waiting.count_start(task.owner)
        task.was_begun = True
        task.status, task.attempts, task.lease, task.uploads = "running", lease.attempt, lease, ()
        task.forget_progress()
        if not miner.is_local:
            self._extend(task, lease)
        self._miners.tasks_of(miner.name).add(task)
        miner.latest = task.workflow
        miner.ran[task.workflow] = lease.since
        task.change(lease.began)
        return lease

    def _renew_lease(self, lease: LeaseId) -> OpenTask:
        """Renew this lease and return its task. Raises LeaseLost."""
        task = self._find(lease.task_id)
        present = None if task is None else task.lease
        if task is None or present is None or present.token != lease.token or lease.miner not in (None, present.miner):
            outcome = self._database.outcome_of(lease.task_id, lease.token)
            raise LeaseLost(outcome if outcome in _STOP_REASONS else "lost")
        if task.status == "waiting":
            self._database.set_status(task.task_id, "running", task.attempts)
            self._waiting.discard(task)
            self._amounts.count(task, -1)
            task.status, present.over = "running", None
            self._miners.tasks_of(present.miner).add(task)
            task.change(self._clock.time())
        present.acknowledged = True
        if present.expires_at is not None:
            self._extend(task, present)
        return task

    async def _submit(self, lease: LeaseId, change: Callable[[OpenTask], None]) -> bool:
        """Make the change that ends an attempt; False where an end was submitted with this lease before."""
        self._miners.mark_seen(lease.miner)
        is_new = True
        try:
            change(self._renew_lease(lease))
        except LeaseLost:
            if self._database.outcome_of(lease.task_id, lease.token) not in ("finished", "error"):
                raise
            is_new = False
        await self._database.flush()
        return is_new

    def _return(self, task: OpenTask, reason: str, why: str | None) -> None:
        """A miner gave a task back."""
        if reason == "unable":
            self._fail(task, why or "its miner cannot run it", is_unable=True)
        elif reason == "died" and task.deaths + 1 >= _DEATHS:
            msg = (
                f"failed after ComfyUI ended {_DEATHS} times while it ran this ({why or 'no reason given'}). It may "
                "need more memory than the miners have: make it smaller, and submit it as a new task"
            )
            self._end(task.task_id, "failed", "lost", msg)
        else:
            counts = reason != "stopping" or task.returns + 1 >= _RETURNS
            self._attempt_lost(task, counts=counts, drop_lease=True, why=why)
            task.returns += reason == "stopping"
            task.deaths += reason == "died"

    def _fail(self, task: OpenTask, msg: str, *, is_unable: bool = False) -> None:
        """The workflow failed. Another miner gets it once if this one is unable to run it, or may not be well."""
        miner = self._miners.get(None if task.lease is None else task.lease.miner)
        others = [other for other in self._miners.alive() if other is not miner and other.can_run(task)]
        if others and not task.was_unable and (is_unable or (miner is not None and not miner.is_reliable)):
            self._attempt_lost(task, counts=False, drop_lease=True, why=msg, avoided_seconds=math.inf)
            task.was_unable = True
            return
        self._end(task.task_id, "failed", "error", msg)
        if task.avoided and miner is not None:  # Where two miners fail, it is the fault of the task.
            for name in (miner.name, *task.avoided):
                if (other := self._miners.get(name)) is not None:
                    other.forgive_failure()

    def _attempt_lost(
        self,
        task: OpenTask,
        *,
        counts: bool = True,
        drop_lease: bool = False,
        why: str | None = None,
        avoided_seconds: float = _AVOIDED_SECONDS,
    ) -> None:
        """An attempt is over without an end of the task."""
        task.last_error = why or task.last_error
        if counts and task.attempts >= ATTEMPTS:
            last = f" ({task.last_error})" if task.last_error else ""
            msg = f"failed after {ATTEMPTS} attempts: each time its miner was lost{last}. Submit it again as a new task"
            self._end(task.task_id, "failed", "lost", msg)
            self.on_attempt_lost(task.workflow)
            return
        attempts = task.attempts if counts else task.attempts - 1
        self._database.set_status(task.task_id, "waiting", attempts, drop_lease=drop_lease)
        self.on_attempt_lost(task.workflow)
        if task.lease is not None:
            task.avoided[task.lease.miner] = self._clock.monotonic() + avoided_seconds
        self._count_outcome(task, "lost")
        self._release(task, "lost")
        self._amounts.count(task, 1)
        task.status, task.attempts = "waiting", attempts
        task.forget_progress()
        if drop_lease:
            task.lease, task.uploads = None, ()
        task.change(self._clock.time())
        self._dispatch(task)

    def _finish(self, task: OpenTask, result: Result) -> None:
        now = self._clock.time()
        if task.lease is None or not {result.file, *result.more} <= set(task.uploads):
            raise NotUploadedError(result.file)
        media = result.media or task.lease.derived(_MEDIA) + result.file[result.file.index(".") :]
        if not self._database.finish(task.task_id, media, result, revision=task.next_revision(now), now=self._time()):
            raise NotUploadedError(result.file)
        self._close(task, "finished")

    def _end(self, task_id: str, status: str, outcome: str, msg: str) -> None:
        """End a task as failed or canceled, unless it has ended."""
        if (task := self._find(task_id)) is not None:
            now = self._clock.time()
            self._database.end(task_id, status, outcome, msg, revision=task.next_revision(now), now=self._time())
            self._close(task, outcome)

    def _time_out(self, task: OpenTask) -> None:
        why, _ = self._reasons.of(task) if task.status == "waiting" and task.ready else (None, None)
        self._end(task.task_id, "failed", "timed out", "; ".join(filter(None, [TIMED_OUT, why])))

    def _close(self, task: OpenTask, outcome: str) -> None:
        """A task has ended: forget it here, and wake all who wait."""
        del self._open[task.task_id]
        self._reasons.forget(task)
        self._waiting.discard(task)
        if task.status == "waiting":
            self._amounts.count(task, -1)
        else:
            self._count_outcome(task, outcome)
        self._release(task, outcome if outcome in _STOP_REASONS else "lost")
        task.forget_progress()
        if task.timer is not None:
            task.timer.cancel()
        task.status = "ended"
        task.change(self._clock.time())
        seconds = None if task.lease is None else self._clock.monotonic() - task.lease.since
        self.on_end(task.workflow, outcome, seconds)

    def _count_outcome(self, task: OpenTask, outcome: str) -> None:
        """An attempt is over: note for its miner whether there is a result."""
        miner = self._miners.get(None if task.lease is None else task.lease.miner)
        if miner is not None and outcome == "finished":
            miner.count_result()
        elif miner is not None and outcome in ("lost", "error"):
            miner.count_failure(self._clock.monotonic())

    def _release(self, task: OpenTask, reason: str) -> None:
        if task.lease is not None:
            self._miners.tasks_of(task.lease.miner).discard(task)
            task.lease.end(reason)

    def _by_token(self, token: str, purpose: str) -> OpenTask | None:
        """The task whose present attempt got this token; None for any other text."""
        task = self._open.get(token[:_ID_LENGTH])
        if task is None or task.lease is None:
            return None
        expected = _token(task, task.lease, purpose)
        return task if compare_digest(token.encode(errors="replace"), expected.encode()) else None

    # Timers.

    def _extend(self, task: OpenTask, lease: Lease) -> None:
        """Let a lease expire later, counted from now."""
        lease.expires_at = self._clock.monotonic() + LEASE_SECONDS
        if lease.timer is None:
            lease.timer = self._call_at(lease.expires_at, partial(self._expire, task, lease))

    def _expire(self, task: OpenTask, lease: Lease) -> None:
        """A lease may have expired. Heartbeats change ``expires_at`` and not the timer: then it is set again."""
        lease.timer = None
        if task.lease is not lease or task.status != "running" or lease.expires_at is None:
            return
        if lease.expires_at > self._clock.monotonic():
            lease.timer = self._call_at(lease.expires_at, partial(self._expire, task, lease))
        else:
            self._attempt_lost(task)

    def _call_at(self, moment: float, change: Callable[[], object]) -> Timer:
        """Make a change at a time, or at once if that has passed."""
        return self._clock.call_later(max(0.0, moment - self._clock.monotonic()), self._retry_on_store_error, change)

    def _retry_on_store_error(self, change: Callable[[], object]) -> None:
        """Nobody waits for the change, so it is made again in a while if the disk cannot be written."""
        try:
            change()
        except StoreError:
            logger.exception("The database cannot be written")
            self._clock.call_later(_RETRY_SECONDS, self._retry_on_store_error, change)


def _token(task: OpenTask, lease: Lease, purpose: str) -> str:
    """The token in one address of an attempt. It leads to the task, and does not reveal the lease's token."""
    return task.task_id + lease.derived(purpose)
