"""This machine: ComfyUI, disk, memory, the media store, proxies."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.request import getproxies

from ...errors import StorageError, one_line
from ...http import __version__
from ...ledger.task_record import ledger_file
from ...media.decoding.limits import free_memory
from ...media.store import MediaStore
from ...protocol.parameters import number_text
from ...protocol.urls import display_url
from .check import OK, PROBLEM, WARNING, Check, failed

OLDEST_COMFYUI = "0.3.64"
"""As pyproject.toml says in requires-comfyui."""

LITTLE_DISK, NO_DISK = 2_000_000_000, 200_000_000
LITTLE_MEMORY = 2_000_000_000


def check_machine(comfyui_version: str | None, home: Path, media_budget: int) -> list[Check]:
    """All that is found on this machine alone. The budget for downloaded media is in bytes."""
    return [
        _check_comfyui(comfyui_version),
        _check_disk(home),
        _check_memory(),
        _check_media(home, media_budget),
        _check_proxies(),
    ]


def _check_comfyui(version: str | None) -> Check:
    """Whether the ComfyUI that asks, or the first that is found, is new enough for this version of the pack."""
    folder: Path | None = None
    if version is None:
        versions = ((folder, _version_in(folder / "comfyui_version.py")) for folder in _folders())
        folder, version = next((found for found in versions if found[1]), (None, None))
    if version is None:
        advice = "For the nodes, set COMFYUI_PATH to its folder. The library and the command line do not need it."
        return Check("ComfyUI", WARNING, "not found", advice)
    where = f" in {folder}" if folder else ""
    text = f"version {one_line(version, 40)}{where}; this is version {__version__} of the pack"
    if _numbers(version) < _numbers(OLDEST_COMFYUI):
        return Check("ComfyUI", PROBLEM, text, f"Update ComfyUI: the nodes need {OLDEST_COMFYUI} or newer.")
    installed = _packs_in(folder) if folder else {__version__}
    if not installed:
        advice = "The nodes are not in it: see “In ComfyUI” in the README. The command line does not need them."
        return Check("ComfyUI", WARNING, f"{text}, which is not in its custom_nodes", advice)
    if others := installed - {__version__}:
        which = ", ".join(f"version {one_line(other, 40)}" for other in sorted(others))
        return Check("ComfyUI", WARNING, f"{text}, and {which} is in its custom_nodes", "Install the same one in both.")
    return Check("ComfyUI", OK, text)


def _try_disk(home: Path) -> None:
    """Do what the commands do with the ledger and a result, in a folder that is removed again. Raises StorageError."""
    made = [folder for folder in (home.absolute(), *home.absolute().parents) if not folder.exists()]
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=home, ignore_cleanup_errors=True) as name:
            trial = Path(name)
            for folder in (trial, *([home] if (home / "ledger.sqlite3").exists() else [])):
                with closing(ledger_file(folder)) as ledger:
                    ledger.run(lambda db: None)
            store = MediaStore(trial)
            part, sha256 = store.incoming("doctor"), hashlib.sha256().hexdigest()
            store.commit(store.mark_complete(part, "doctor", sha256), sha256, ".txt")
    except OSError as error:
        raise StorageError(f"{home} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):  # Another program may have begun to use them.
            for folder in made:
                folder.rmdir()


def _check_disk(home: Path) -> Check:
    """Whether the home can be used, and how much space is free."""
    try:
        _try_disk(home)
    except StorageError as error:
        return failed("disk", error)
    existing = next(folder for folder in (home.absolute(), *home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:.1f} GB free for {home}"
    if free < LITTLE_DISK:
        return failed("disk", StorageError(text, code="disk_nearly_full"), PROBLEM if free < NO_DISK else WARNING)
    return Check("disk", OK, text)


def _check_memory() -> Check:
    """How much memory is free for decoding."""
    free = free_memory()
    if free is None:
        return Check("memory", OK, "how much is free is not known on this system")
    text = f"{free.size / 1e9:.1f} GB free"
    if free.size < LITTLE_MEMORY:
        return Check("memory", WARNING, text, "Long videos and large batches will be refused. Close other programs.")
    return Check("memory", OK, text)


def _check_media(home: Path, budget: int) -> Check:
    """How much of the budget for downloaded media, in bytes, is used."""
    used = 0
    for path in (home / "media").glob("??/*"):
        with suppress(OSError):
            used += path.stat().st_size
    return Check("media budget", OK, f"{used / 1e9:.2f} of {number_text(budget / 1e9)} GB used")


def _check_proxies() -> Check:
    """Which proxies are in force, without their passwords."""
    proxies = {kind: address for kind, address in getproxies().items() if kind in ("http", "https", "all")}
    if not proxies:
        return Check("proxies", OK, "none")
    text = ", ".join(
        f"{kind} by {display_url(address if '://' in address else f'http://{address}')}"
        for kind, address in sorted(proxies.items())
    )
    if any(address.startswith("socks") for address in proxies.values()) and not find_spec("aiohttp_socks"):
        return Check("proxies", PROBLEM, text, "SOCKS proxies cannot be used. Set an address like http://host:port.")
    exceptions = one_line(f"this machine,{getproxies().get('no', '')}".rstrip(","), 80)
    return Check("proxies", OK, f"{text}; exceptions: {exceptions}")


def _folders() -> list[Path]:
    """The folders where ComfyUI may be: those of COMFYUI_PATH, those around this pack, and the usual ones."""
    names = [*filter(None, os.environ.get("COMFYUI_PATH", "").split(os.pathsep)), "~/ComfyUI", "~/comfy"]
    # Path.expanduser raises for a user without a home folder.
    *named, usual, comfy = (Path(os.path.expanduser(name)) for name in names)  # noqa: PTH111
    around = [folder for folder in Path(__file__).absolute().parents if (folder / "custom_nodes").is_dir()]
    return [*named, *around, usual, *sorted(comfy.glob("ComfyUI*"))]


def _version_in(file: Path) -> str | None:
    try:
        found = re.search(r"__version__\s*=\s*[\"']([^\"']+)", file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found[1] if found else None


def _packs_in(comfyui: Path) -> set[str]:
    """The versions of the pack in that ComfyUI's custom_nodes."""
    found = map(_version_in, comfyui.glob("custom_nodes/*/xalora_client/http/__init__.py"))
    return {version for version in found if version is not None}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
