"""What serves until it is stopped: ``xalora sandbox``, ``xalora sequencer`` and ``xalora miner``."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import Any

from .. import config
from ..errors import ConfigurationError
from ..protocol.requests import Credentials
from ..sequencer import Options, SequencerOptions
from ..sequencer.log import log_to_stderr
from ..sequencer.options import MOST_WAITING, is_loopback
from .arguments import MINER_KEY, SEQUENCER_KEYS
from .outcome import INTERRUPTED, print_result


async def sandbox(arguments: argparse.Namespace) -> int:
    """``xalora sandbox``."""
    from ..sequencer.app import serve  # Imports a web server, which few commands need.

    options = Options(
        workers=arguments.workers,
        render_seconds=arguments.render_seconds,
        video_format=arguments.video_format,
        fail=arguments.fail,
    )
    data = arguments.data or config.home_folder() / "sandbox"
    await serve(arguments.host, arguments.port, data, options, on_ready=partial(_print_url, arguments, "sandbox"))
    return 0


async def sequencer(arguments: argparse.Namespace) -> int:
    """``xalora sequencer --data DIR``, with miners of its own for ``--comfyui URL``."""
    from ..sequencer.api.connections import raise_file_limit
    from ..sequencer.app import serve  # Imports a web server, which few commands need.
    from ..sequencer.recovery import backup

    if arguments.backup is not None:
        backup(arguments.data, arguments.backup)
        line = f"Copied the database of {arguments.data} to {arguments.backup}, without the files in its folders."
        print_result(arguments, {"backup": arguments.backup}, line)
        return 0
    if arguments.recover:
        return _recover(arguments)
    if not arguments.budget > 0:
        raise ConfigurationError(f"--budget is {arguments.budget}", advice="Allowed: more than 0 gigabytes.")
    options = SequencerOptions(
        # Better from the environment: other users of the machine can list arguments.
        api_keys=tuple(arguments.api_key or os.environ.get(SEQUENCER_KEYS, "").split()),
        miner_keys=tuple(arguments.miner_key or os.environ.get(MINER_KEY, "").split()),
        workflows=arguments.workflows,
        allow_private_images=arguments.allow_private_images,
        public_url=arguments.public_url,
        trusted_proxies=tuple(arguments.trusted_proxy or ()),
        metrics_open=arguments.metrics_open,
        max_waiting=MOST_WAITING if arguments.max_waiting is None else arguments.max_waiting,
        result_bytes=int(arguments.budget * 1e9),
    )
    key = secrets.token_hex(16) if arguments.comfyui and options.miner_keys else None
    if key is not None:  # For the miners of this process: those that were given may each be for one name.
        options = replace(options, miner_keys=(*options.miner_keys, key))

    def on_ready(url: str) -> None:
        _print_url(arguments, "sequencer", url)
        if addresses := _reachable_at(arguments.host, url, options.public_url):
            consumer = Credentials.parse(options.api_keys[0]).consumer_id
            _log(f"Other machines reach it at {' or '.join(addresses)}. There, with a key in place of KEY:")
            _log(f"  export XALORA_WORKFLOW_URL={addresses[0]} XALORA_API_KEY='{consumer}#KEY'")
            _log(f"  XALORA_MINER_KEY=KEY xalora miner --sequencer {addresses[0]} --comfyui http://127.0.0.1:8188")
        if options.page_token is not None:
            _log(f"See what is going on: {url}/?token={options.page_token}")

    log_to_stderr()
    raise_file_limit()
    os.umask(0o077)  # Prompts are in what it writes: others on this machine must not read it.
    run = partial(serve, arguments.host, arguments.port, arguments.data, options)
    if arguments.comfyui:
        await _serve_with_miners(run, on_ready, arguments.comfyui, key)
    else:
        await run(on_ready=on_ready)
    return 0


def _recover(arguments: argparse.Namespace) -> int:
    """``xalora sequencer --recover``: 1 if something is lost."""
    from ..sequencer.recovery import recover

    found = recover(arguments.data)
    if found is None:
        print_result(arguments, {"recovered": False}, "The database is not damaged.")
        return 0
    counts = ", ".join(f"{count} {table}" for table, count in found.recovered.items() if table != "salt")
    lines = [
        f"The database was damaged: {found.fault}. It is kept as {found.kept}.",
        f"What could be read is in the new one: {counts}.",
        *(f"Lost: task {task_id}" for task_id in found.lost),
    ]
    if "salt" not in found.recovered:
        lines.append("Lost: whose tasks they are. Their consumers cannot ask for them any more.")
    print_result(arguments, {"recovered": True, **vars(found)}, *lines)
    return 1 if found.lost or "salt" not in found.recovered else 0


async def miner(arguments: argparse.Namespace) -> int:
    """``xalora miner --sequencer URL --comfyui URL…``."""
    from ..miner.service import make_miners, run_until_signal  # Imports HTTP, which the sandbox does not need.

    miners = make_miners(
        arguments.comfyui,
        arguments.sequencer,
        name=arguments.name,
        miner_key=os.environ.get(MINER_KEY) or None,
        workflows=arguments.workflows,
        accepts_workflows=arguments.accept_workflows,
        on_ready=lambda name: print_result(arguments, {"miner": name}, f"Xalora miner {name} ready"),
        log=_log,
    )
    was_interrupted = await run_until_signal(miners, lambda line: _log(f"Xalora miner: {line}"))
    return INTERRUPTED if was_interrupted else 0


def _reachable_at(host: str, url: str, public_url: str | None) -> list[str]:
    """The addresses by which other machines reach a sequencer that listens on ``host``; none for this one alone."""
    if public_url is not None:
        return [public_url.rstrip("/")]
    if host not in ("", "0.0.0.0", "::"):  # noqa: S104 - not bound
        return [] if is_loopback(host) else [url]
    family = socket.AF_INET if host == "0.0.0.0" else socket.AF_UNSPEC  # noqa: S104 - not bound
    found: list[str] = []
    for far in ("192.0.2.1", "2001:db8::1"):
        with suppress(OSError):
            ((kind, *_, address),) = socket.getaddrinfo(far, 9, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
            # A datagram socket sends nothing here. It has the address of the interface that leads there.
            with socket.socket(kind, socket.SOCK_DGRAM) as probe:
                probe.connect(address)
                found.append(str(probe.getsockname()[0]))
    with suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), 0, family, socket.SOCK_STREAM)]
    port = url.rpartition(":")[2]
    usable = [name for name in dict.fromkeys(found) if not (is_loopback(name) or ip_address(name).is_link_local)]
    return [f"http://{f'[{name}]' if ':' in name else name}:{port}" for name in usable or [socket.gethostname()]]


def _print_url(arguments: argparse.Namespace, name: str, url: str) -> None:
    print_result(arguments, {"url": url}, f"Xalora {name} listening on {url}")


async def _serve_with_miners(
    serve: Callable[..., Awaitable[None]], on_ready: Callable[[str], None], comfyuis: Sequence[str], key: str | None
) -> None:
    """Serve a sequencer, with a miner for each ComfyUI, until canceled.

    The miners end first, so that they can give back their tasks.
    """
    from ..miner.service import make_miners, run_miners

    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving: asyncio.Future[None] = asyncio.ensure_future(serve(on_ready=ready.set_result))
    running = [serving]
    try:
        begun: list[asyncio.Future[Any]] = [serving, ready]
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            url = ready.result()
            on_ready(url)
            # "All interfaces" cannot be called.
            url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
            miners = make_miners(
                comfyuis,
                url,
                miner_key=key,
                accepts_workflows=True,
                on_ready=lambda name: _log(f"Xalora miner {name} ready"),
                log=_log,
            )
            running.insert(0, asyncio.ensure_future(run_miners(miners)))
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for part in running:
            if part.done() and not part.cancelled():
                part.result()
    finally:
        for part in running:
            part.cancel()
            await asyncio.gather(part, return_exceptions=True)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
