"""This machine: ComfyUI, disk, memory, the media store, proxies."""

from __future__ import annotations

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from urllib.request import getproxies

from ..errors import StorageError, one_line
from ..http import __version__
from ..media.decoding.limits import free_memory
from ..protocol.urls import display_url
from .check import OK, PROBLEM, WARNING, Check, failed

OLDEST_COMFYUI = "0.3.64"
"""As pyproject.toml says in requires-comfyui."""

LITTLE_DISK, NO_DISK = 2_000_000_000, 200_000_000
LITTLE_MEMORY = 2_000_000_000


def check_comfyui(version: str | None = None) -> Check:
    """The ComfyUI that asks, or the first that is found, against what this version of the pack needs."""
    place = ""
    if version is None:
        for folder in _folders():
            found = _version_in(folder / "comfyui_version.py")
            if found is not None:
                version, place = found, f" in {folder}"
                break
    if version is None:
        advice = "For the nodes, set COMFYUI_PATH to its folder. The library and the command line do without."
        return Check("ComfyUI", WARNING, "not found", advice)
    text = f"version {one_line(version, 40)}{place}; this is version {__version__} of the pack"
    if _numbers(version) < _numbers(OLDEST_COMFYUI):
        return Check("ComfyUI", PROBLEM, text, f"Update ComfyUI: the nodes need {OLDEST_COMFYUI} or newer.")
    other = _other_pack(Path(place.removeprefix(" in "))) if place else None
    if other:
        return Check("ComfyUI", WARNING, f"{text}, and {other} is in its custom_nodes", "Install the same one in both.")
    return Check("ComfyUI", OK, text)


def check_disk(home: Path) -> Check:
    """Whether the home can be written, and how much fits in."""
    existing = next(each for each in (home.absolute(), *home.absolute().parents) if each.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        advice = "Make the folder writable, or point XALORA_HOME elsewhere."
        return Check("disk", PROBLEM, f"{home} cannot be written", advice)
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:.1f} GB free for {home}"
    if free < LITTLE_DISK:
        return failed("disk", StorageError(text, code="disk_nearly_full"), PROBLEM if free < NO_DISK else WARNING)
    return Check("disk", OK, text)


def check_memory() -> Check:
    """How much memory is free for decoding."""
    free = free_memory()
    if free is None:
        return Check("memory", OK, "how much is free is not known on this system")
    text = f"{free.size / 1e9:.1f} GB free"
    if free.size < LITTLE_MEMORY:
        return Check("memory", WARNING, text, "Long videos and large batches will be refused. Close other programs.")
    return Check("memory", OK, text)


def check_media(home: Path, budget: int) -> Check:
    """How much of the budget for downloaded media, in bytes, is used."""
    used = 0
    for path in (home / "media").glob("??/*"):
        try:
            used += path.stat().st_size
        except OSError:
            continue
    return Check("media budget", OK, f"{used / 1e9:.2f} of {budget / 1e9:g} GB used")


def check_proxies() -> Check:
    """Which proxies are in force, without their passwords."""
    proxies = {kind: address for kind, address in getproxies().items() if kind in ("http", "https", "all")}
    if not proxies:
        return Check("proxies", OK, "none")
    words = ", ".join(
        f"{kind} by {display_url(address if '://' in address else f'http://{address}')}"
        for kind, address in sorted(proxies.items())
    )
    if any(address.startswith("socks") for address in proxies.values()) and not find_spec("aiohttp_socks"):
        return Check("proxies", PROBLEM, words, "SOCKS proxies cannot be used. Set an address like http://host:port.")
    return Check("proxies", OK, f"{words}; exceptions: {one_line(getproxies().get('no') or 'none', 80)}")


def _folders() -> list[Path]:
    """Where ComfyUI may be: where the user says, around this pack, and at the usual places."""
    named = [Path(each).expanduser() for each in os.environ.get("COMFYUI_PATH", "").split(os.pathsep) if each]
    around = [each for each in Path(__file__).absolute().parents if (each / "custom_nodes").is_dir()]
    usual = [Path.home() / "ComfyUI", *sorted(Path.home().glob("comfy/ComfyUI*"))]
    return named + around + usual


def _version_in(file: Path) -> str | None:
    try:
        found = re.search(r"__version__\s*=\s*[\"']([^\"']+)", file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found[1] if found else None


def _other_pack(comfyui: Path) -> str | None:
    """The version of the pack in that ComfyUI, if it is another than this."""
    for file in sorted(comfyui.glob("custom_nodes/*/xalora_client/http/__init__.py")):
        version = _version_in(file)
        if version is not None and version != __version__:
            return f"version {one_line(version, 40)}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])
