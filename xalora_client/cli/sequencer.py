"""``xalora sequencer``: hands tasks to miners."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable

from ..errors import ConfigurationError
from ..sequencer import SequencerOptions
from .arguments import MINER_KEY, SEQUENCER_KEYS


async def sequencer(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    from ..sequencer.app import serve  # Imports a web server, which few commands need.

    def announce(url: str) -> None:
        line = json.dumps({"url": url}) if arguments.json else f"Xalora sequencer listening on {url}"
        print(line, flush=True)

    chosen = options(arguments)

    async def run(on_ready: Callable[[str], object]) -> None:
        await serve(arguments.host, arguments.port, arguments.data, chosen, on_ready=on_ready)

    if arguments.comfyui:
        from .miner import serve_beside

        await serve_beside(run, announce, arguments.comfyui, chosen.miner_key)
    else:
        await run(announce)
    return 0


def options(arguments: argparse.Namespace) -> SequencerOptions:
    """The options from the arguments, and from the environment, which other users of the machine cannot list.

    Raises ConfigurationError.
    """
    if not arguments.budget > 0:
        raise ConfigurationError(f"--budget is {arguments.budget}", advice="Allowed: more than 0 gigabytes.")
    return SequencerOptions(
        api_keys=tuple(arguments.api_key or os.environ.get(SEQUENCER_KEYS, "").split()),
        miner_key=arguments.miner_key or os.environ.get(MINER_KEY) or None,
        workflows=arguments.workflows,
        allow_private_images=arguments.allow_private_images,
        public_url=arguments.public_url,
        result_bytes=int(arguments.budget * 1e9),
    )
