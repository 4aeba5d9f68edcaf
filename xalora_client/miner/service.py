"""Several miners in one process, and how signals end them."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from . import cancel
from .miner import Miner


def make_miners(
    comfyuis: Sequence[str],
    sequencer: str,
    *,
    name: str | None = None,
    miner_key: str | None = None,
    workflows: Path | None = None,
    accepts_workflows: bool = False,
    on_ready: Callable[[str], None] = lambda name: None,
    log: Callable[[str], None] = lambda line: None,
) -> list[Miner]:
    """One miner for each ComfyUI: NAME, NAME-2, ...; the name is this machine's unless one is given.

    Raises ConfigurationError for an address that cannot be used.
    """
    first = name or socket.gethostname() or "miner"
    names = [first] + [f"{first}-{number}" for number in range(2, len(comfyuis) + 1)]
    return [
        Miner(
            name,
            comfyui,
            sequencer,
            miner_key=miner_key,
            workflows=workflows,
            accepts_workflows=accepts_workflows,
            on_ready=on_ready,
            log=log,
        )
        for name, comfyui in zip(names, comfyuis, strict=True)
    ]


async def run_miners(miners: Sequence[Miner]) -> None:
    """Run them until all have finished. When one fails or this is canceled, the tasks at hand are requeued."""
    running = [asyncio.ensure_future(miner.run()) for miner in miners]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await cancel(*running)


async def run_until_signal(miners: Sequence[Miner], log: Callable[[str], None]) -> bool:
    """Run them until Ctrl-C, SIGTERM, or the end of their terminal. Returns whether it was Ctrl-C.

    The first Ctrl-C waits for the tasks at hand, the second requeues them. SIGTERM requeues them at once: a service
    manager soon kills what does not end.
    """
    running = asyncio.ensure_future(run_miners(miners))
    presses = 0

    def press() -> None:
        nonlocal presses
        presses += 1
        if presses == 1:
            log("Stopping after the tasks at hand. Press Ctrl-C again to return them to the queue.")
            for miner in miners:
                miner.finish()
        elif presses == 2:
            log("Returning the tasks to the queue.")
            signal.signal(signal.SIGINT, signal.default_int_handler)  # A third one ends it wherever it is.
            running.cancel()

    def terminate() -> None:
        log("Stopping. Tasks at hand are returned to the queue.")
        running.cancel()

    with signal_handlers({signal.SIGINT: press} | to_end(terminate)), suppress(asyncio.CancelledError):
        await running
    return presses > 0


def to_end(action: Callable[[], object]) -> dict[signal.Signals, Callable[[], object]]:
    """An action for the signals that ask a service to end: SIGTERM, and that its terminal is gone, but for nohup."""
    found = {signal.SIGTERM: action}
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        found[signal.SIGHUP] = action
    return found


@contextmanager
def signal_handlers(actions: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
    """Call these on this loop when the signals arrive, in place of their handlers until now."""
    loop = asyncio.get_running_loop()
    before = {}
    for number, action in actions.items():

        def handle(_number: int, _frame: FrameType | None, action: Callable[[], object] = action) -> None:
            loop.call_soon_threadsafe(action)

        # Not by the loop's add_signal_handler, which Windows lacks.
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
