"""The options of a sandbox, and of a sequencer."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from ..errors import ConfigurationError, InvalidParameterError
from ..protocol.parameters import Number, Text, Whole
from ..protocol.requests import Credentials
from ..protocol.urls import Link

_WORKERS = Whole("tasks rendered at once", minimum=1, maximum=64)
_RENDER_SECONDS = Number("least seconds a task runs", minimum=0, maximum=86_400)
_FAIL = Number("share of the tasks that fail")
VIDEO_FORMATS = ("mp4", "webp")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a sandbox works.

    Args:
        workers: Tasks rendered at once, 1 to 64.
        render_seconds: The shortest time a task runs, 0 to 86,400 seconds.
        video_format: "mp4" (H.264) or "webp" (animated).
        fail: The share of the tasks that fail on purpose, evenly spread, 0 to 1.

    Raises:
        ConfigurationError: A value is not allowed.
    """

    workers: int = 2
    render_seconds: float = 0.0
    video_format: str = "mp4"
    fail: float = 0.0

    def __post_init__(self) -> None:
        _WORKERS.check("workers", self.workers)
        _RENDER_SECONDS.check("render_seconds", self.render_seconds)
        _FAIL.check("fail", self.fail)
        if self.video_format not in VIDEO_FORMATS:
            raise InvalidParameterError("video_format", self.video_format, " or ".join(VIDEO_FORMATS))


_RESULT_BYTES = Whole("bytes of results that are kept", minimum=2**20)
_MAX_WAITING = Whole("waiting tasks of one consumer", minimum=1)
MOST_WAITING = 20_000
"""Tasks of one consumer that may wait, unless another number is set."""


@dataclass(frozen=True, kw_only=True)
class SequencerOptions:
    """How a sequencer for miners works.

    Args:
        api_keys: The accepted keys of consumers, as ``consumer#key``. Without any, all are accepted.
        miner_keys: What miners must present: ``KEY``, which is good for every name, or ``NAME=KEY``. Without any, every
            miner is accepted.
        workflows: A folder of workflow files for miners that have none.
        allow_private_images: Whether images are fetched from private networks and from this machine. A sequencer on
            loopback does not do so by default either: a proxy in front of it may let others in.
        public_url: How others reach it, where that is through a proxy: scheme, host, port and path, such as
            "https://gpu.example.com/xalora". Addresses in answers begin so. None: as the caller wrote it, by http.
        trusted_proxies: Addresses, such as "10.0.0.2" or "10.0.0.0/8", whose ``X-Forwarded-For``, ``-Proto``, ``-Host``
            and ``-Prefix`` are believed.
        metrics_open: Whether the metrics need no token even where there are keys.
        max_waiting: How many tasks of one consumer may wait at a time, at least 1.
        result_bytes: How many bytes of results are kept; beyond that the oldest go, but none of the last hour.

    Raises:
        ConfigurationError: A value is not allowed.
    """

    api_keys: tuple[str, ...] = ()
    miner_keys: tuple[str, ...] = ()
    workflows: Path | None = None
    allow_private_images: bool = False
    public_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    metrics_open: bool = False
    max_waiting: int = MOST_WAITING
    result_bytes: int = 20 * 2**30

    def __post_init__(self) -> None:
        _RESULT_BYTES.check("result_bytes", self.result_bytes)
        _MAX_WAITING.check("max_waiting", self.max_waiting)
        owners: dict[str, str] = {}
        for consumer in map(Credentials.parse, self.api_keys):
            # Tasks belong to a key: who has the same one reads them.
            if owners.setdefault(consumer.api_key, consumer.consumer_id) != consumer.consumer_id:
                raise ConfigurationError(
                    f"{owners[consumer.api_key]} and {consumer.consumer_id} have the same key",
                    advice="Give each consumer a key of its own, a long random text.",
                )
        if not all(Text("").accepts(miner_key(text)[1]) for text in self.miner_keys):
            raise ConfigurationError(
                "A miner key is empty, or not a text", advice="Set XALORA_MINER_KEY to a long random text."
            )
        for proxy in self.trusted_proxies:
            try:
                ip_network(proxy, strict=False)
            except ValueError:
                raise ConfigurationError(
                    f"--trusted-proxy is {proxy[:60]!r}", advice="Write its IP address, or a range like 10.0.0.0/8."
                ) from None
        if self.public_url is not None and not _is_base(self.public_url):
            raise ConfigurationError(
                "The address after --public-url cannot be used",
                advice="Write it without a user and a query, like https://gpu.example.com/xalora.",
            )

    @property
    def page_token(self) -> str | None:
        """What opens the page and the metrics; None where there are no keys. The same after a restart."""
        keys = self.api_keys or self.miner_keys
        return page_token(keys[0]) if keys else None

    def check_host(self, host: str) -> None:
        """Raise ConfigurationError for an address that others can reach, unless there are keys for them."""
        if (self.public_url is not None or not is_loopback(host)) and not (self.api_keys and self.miner_keys):
            raise ConfigurationError(
                f"Other machines can reach a sequencer on {self.public_url or host}, so it needs keys",
                advice="Set XALORA_SEQUENCER_KEYS (consumer#key) and XALORA_MINER_KEY, or listen on 127.0.0.1.",
            )


def miner_key(text: str) -> tuple[str | None, str]:
    """The name that a miner's key is for, or None for every name, and the key. Base64 may end with ``=``."""
    name, equals, key = text.partition("=")
    return (name, key) if equals and key.strip("=") else (None, text)


def page_token(secret: str) -> str:
    """What opens the page and the metrics: the same after a restart, and no use for anything else."""
    return hmac.new(secret.encode(), b"page", hashlib.sha256).hexdigest()[:32]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this host."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_base(address: str) -> bool:
    """Whether an address has a scheme, a host, maybe a port and a path, and nothing else."""
    try:
        link = Link.parse(address)
    except ValueError:
        return False
    return not set("?#") & set(address) and link.login is None
