"""The options of a sandbox, and of a sequencer."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ..errors import ConfigurationError, InvalidParameterError
from ..protocol.parameters import Number, Whole
from ..protocol.requests import Credentials, Link

_WORKERS = Whole("tasks rendered at once", minimum=1, maximum=64)
_RENDER_SECONDS = Number("least seconds a task runs", minimum=0, maximum=86_400)
VIDEO_FORMATS = ("mp4", "webp")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a sandbox works.

    Args:
        workers: Tasks rendered at once, 1 to 64.
        render_seconds: The shortest time a task runs, 0 to 86,400 seconds.
        video_format: "mp4" (H.264) or "webp" (animated).

    Raises:
        ConfigurationError: A value is not allowed.
    """

    workers: int = 2
    render_seconds: float = 0.0
    video_format: str = "mp4"

    def __post_init__(self) -> None:
        _WORKERS.check("workers", self.workers)
        _RENDER_SECONDS.check("render_seconds", self.render_seconds)
        if self.video_format not in VIDEO_FORMATS:
            raise InvalidParameterError("video_format", self.video_format, " or ".join(VIDEO_FORMATS))


_RESULT_BYTES = Whole("bytes of results that are kept", minimum=2**20)


@dataclass(frozen=True, kw_only=True)
class SequencerOptions:
    """How a sequencer for miners works.

    Args:
        api_keys: The accepted keys of consumers, as ``consumer#key``. Without any, all are accepted.
        miner_key: What miners must present. None accepts every miner.
        workflows: A folder of workflow files for miners that have none.
        allow_private_images: Whether images are fetched from private networks and from this machine. A sequencer on
            loopback does not do so by default either: a proxy in front of it may let others in.
        public_url: How others reach it, where that is through a proxy: scheme, host and port, such as
            "https://gpu.example.com". Addresses in answers begin so. None: as the caller wrote it, by http.
        result_bytes: How many bytes of results are kept; beyond that the oldest go, but none of the last hour.

    Raises:
        ConfigurationError: A value is not allowed.
    """

    api_keys: tuple[str, ...] = ()
    miner_key: str | None = None
    workflows: Path | None = None
    allow_private_images: bool = False
    public_url: str | None = None
    result_bytes: int = 20 * 2**30

    def __post_init__(self) -> None:
        _RESULT_BYTES.check("result_bytes", self.result_bytes)
        for api_key in self.api_keys:
            Credentials.parse(api_key)
        if self.miner_key is not None and not self.miner_key.strip():
            raise ConfigurationError("The miner key is empty", advice="Set XALORA_MINER_KEY to a long random text.")
        if self.public_url is not None and not _is_origin(self.public_url):
            raise ConfigurationError(
                "The address after --public-url cannot be used",
                advice="Write it without a path, like https://gpu.example.com.",
            )

    def check_host(self, host: str) -> None:
        """Raise ConfigurationError for an address that others can reach, unless there are keys for them."""
        if not is_loopback(host) and not (self.api_keys and self.miner_key):
            raise ConfigurationError(
                f"Other machines can reach a sequencer on {host}, so it needs keys",
                advice="Set XALORA_SEQUENCER_KEYS (consumer#key) and XALORA_MINER_KEY, or listen on 127.0.0.1.",
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this host."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_origin(address: str) -> bool:
    """Whether an address has a scheme, a host and maybe a port, and nothing else."""
    try:
        link = Link.parse(address)
    except ValueError:
        return False
    return link.target == "/" and link.login is None
