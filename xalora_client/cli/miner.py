"""``xalora miner``, and the miners of ``xalora sequencer --comfyui``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..miner.service import make_miners, run_miners, run_until_signal, signal_handlers
from .arguments import MINER_KEY
from .outcome import INTERRUPTED


async def miner(arguments: argparse.Namespace) -> int:
    """``xalora miner --sequencer URL --comfyui URL…``: work until stopped."""

    def announce(name: str) -> None:
        print(json.dumps({"miner": name}) if arguments.json else f"Xalora miner {name} ready", flush=True)

    miners = make_miners(
        arguments.comfyui,
        arguments.sequencer,
        name=arguments.name,
        miner_key=os.environ.get(MINER_KEY) or None,
        workflows=arguments.workflows,
        on_ready=announce,
        log=log,
    )
    was_interrupted = await run_until_signal(miners, lambda line: log(f"Xalora miner: {line}"))
    return INTERRUPTED if was_interrupted else 0


async def serve_beside(
    serve: Callable[[Callable[[str], object]], Awaitable[None]],
    announce: Callable[[str], None],
    comfyuis: Sequence[str],
    miner_key: str | None,
) -> None:
    """Serve a sequencer, with a miner for each ComfyUI, until canceled.

    ``serve`` is given what to call with the sequencer's address. The miners end first, so that they can requeue
    their tasks.
    """
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving: asyncio.Future[None] = asyncio.ensure_future(serve(ready.set_result))
    tasks = [serving]
    try:
        begun: list[asyncio.Future[Any]] = [serving, ready]
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            url = ready.result()
            announce(url)
            miners = make_miners(comfyuis, _on_this_machine(url), miner_key=miner_key, on_ready=_log_ready, log=log)
            tasks.insert(0, asyncio.ensure_future(run_miners(miners)))
            with signal_handlers({signal.SIGTERM: tasks[0].cancel}):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in tasks:
            if each.done() and not each.cancelled():
                each.result()
    finally:
        for each in tasks:
            each.cancel()
            await asyncio.gather(each, return_exceptions=True)


def log(line: str) -> None:
    """Print a line of the log."""
    print(line, file=sys.stderr, flush=True)


def _log_ready(name: str) -> None:
    log(f"Xalora miner {name} ready")


def _on_this_machine(url: str) -> str:
    """The address to call: "all interfaces" cannot be called."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
