"""``xalora sequencer``: hands tasks to miners."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace

from ..errors import ConfigurationError
from ..sequencer import SequencerOptions
from .arguments import MINER_KEY, SEQUENCER_KEYS


async def sequencer(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    from ..sequencer.api.connections import raise_file_limit
    from ..sequencer.app import serve  # Imports a web server, which few commands need.
    from ..sequencer.log import log_to_stderr

    def announce(url: str) -> None:
        line = json.dumps({"url": url}) if arguments.json else f"Xalora sequencer listening on {url}"
        print(line, flush=True)
        if chosen.page_token is not None:
            print(f"What is going on: {url}/?token={chosen.page_token}", file=sys.stderr, flush=True)

    log_to_stderr()
    chosen = options(arguments)
    raise_file_limit()
    beside = secrets.token_hex(16)
    if arguments.comfyui and chosen.miner_keys:
        chosen = replace(chosen, miner_keys=(*chosen.miner_keys, beside))

    async def run(on_ready: Callable[[str], object]) -> None:
        await serve(arguments.host, arguments.port, arguments.data, chosen, on_ready=on_ready)

    if arguments.comfyui:
        from .miner import serve_beside

        await serve_beside(run, announce, arguments.comfyui, beside if chosen.miner_keys else None)
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
        miner_keys=tuple(arguments.miner_key or os.environ.get(MINER_KEY, "").split()),
        workflows=arguments.workflows,
        allow_private_images=arguments.allow_private_images,
        public_url=arguments.public_url,
        trusted_proxies=tuple(arguments.trusted_proxy or ()),
        metrics_open=arguments.metrics_open,
        result_bytes=int(arguments.budget * 1e9),
    )
