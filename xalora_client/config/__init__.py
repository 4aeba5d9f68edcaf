"""Where the key, the server's address, the bucket for images and the home folder come from.

Arguments come first, then the environment, then ``.env`` in the working directory, then the stored file. Somebody with
several accounts or servers stores each under a name: a profile that is chosen by ``XALORA_PROFILE`` comes before the
environment, so that its key and its server stay together.

A stored key belongs to the server it was stored with, and waits there while another server is in force.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, StorageError
from ..protocol.hidden import Secret
from ..protocol.requests import NO_KEY, Credentials
from ..storage import files
from ..storage.file_locks import FileSystemError, ProcessLock
from .validation import (
    AUTO,
    BUCKET,
    DEFAULT_URL,
    IMAGE_DELIVERY,
    SANDBOX,
    URL,
    checked_bucket,
    checked_upload_method,
    checked_url,
    is_public,
    is_same_server,
)

SANDBOX_KEY = "sandbox#local-preview"

VARIABLES = {
    "api_key": "XALORA_API_KEY",
    "workflow_url": URL,
    "image_delivery": IMAGE_DELIVERY,
    "bucket": BUCKET,
    "bucket_keep": "XALORA_BUCKET_KEEP",
    "home": "XALORA_HOME",
}
"""The environment variables of the settings. Those that have none are only stored."""

ARGUMENT, ENVIRONMENT, DOTENV, STORED, DEFAULT = "argument", "environment", ".env", "stored", "default"
SOURCE_NAMES = {
    ARGUMENT: "an argument",
    ENVIRONMENT: "the environment",
    DOTENV: "the .env file",
    STORED: "the stored settings",
}
"""What messages call the sources of a setting."""

PROFILE = "XALORA_PROFILE"

_STORED_FILE = "config.json"
_KEYS = "keys"
"""In the stored settings, the keys of the servers that are not in force, by their addresses."""

_SECONDS_FOR_A_CHANGE = 10.0
_OF_BUCKET = ("bucket", "bucket_options", "bucket_keep")


@dataclass(frozen=True)
class Setting:
    """A setting's ``value``, None where there is none, and its ``source``: where it comes from."""

    value: str | None
    source: str

    @property
    def editable(self) -> bool:
        """Whether a stored value would be used: the environment and ``.env`` come first."""
        return self.source not in (ENVIRONMENT, DOTENV)


@dataclass(frozen=True)
class Config:
    """The settings in force. ``workflow_url`` has no trailing slash, or is ``sandbox``; ``credentials`` hide the key.

    ``home`` is the folder for the ledger, media and the stored config; it need not exist yet. ``key_source`` is
    "argument", "environment", ".env", "stored", "default" for the sandbox's own key, or "" without a key: a sequencer
    of one's own may need none, and gets NO_KEY.

    ``image_delivery`` is one of UPLOAD_METHODS. ``bucket`` is ``s3://name/prefix``, ``gs://…``, ``az://…`` or
    None; ``bucket_options`` are its stored credentials and endpoint by obstore's names;
    ``bucket_keep`` says that images stay there after their tasks. ``media_budget`` is in gigabytes, as stored.
    """

    credentials: Credentials | None
    workflow_url: str
    home: Path
    key_source: str = ""
    image_delivery: str = AUTO
    bucket: str | None = None
    bucket_options: Secret[Mapping[str, str]] = field(default_factory=lambda: Secret({}))
    bucket_keep: bool = False
    media_budget: str | None = None

    @property
    def is_sandbox(self) -> bool:
        """Whether the local sandbox is to be used."""
        return self.workflow_url == SANDBOX

    def require_credentials(self) -> Credentials:
        """The credentials. Raises ConfigurationError, which says how to set a key, when there are none."""
        if self.credentials is None:
            raise ConfigurationError(code="no_key", remedy="set-key")
        return self.credentials


def find(
    name: str, stored: Mapping[str, Any], argument: str | None = None, dotenv: Mapping[str, str] | None = None
) -> Setting:
    """A setting from the first source that has it.

    ``dotenv`` is what ``.env`` sets, for settings that must come from one state of it; None reads it. Raises
    ConfigurationError when it cannot be read.
    """
    variable = VARIABLES.get(name, "")
    if argument:
        return Setting(argument, ARGUMENT)
    if _profile() and name in ("api_key", "workflow_url"):
        value = stored.get(name)
        return Setting(value, STORED) if value and isinstance(value, str) else Setting(None, DEFAULT)
    if value := os.environ.get(variable):
        return Setting(value, ENVIRONMENT)
    if value := (read_dotenv() if dotenv is None else dotenv).get(variable):
        return Setting(value, DOTENV)
    value = stored.get(name)
    return Setting(value, STORED) if value and isinstance(value, str) else Setting(None, DEFAULT)


def load(
    api_key: str | None = None,
    workflow_url: str | None = None,
    home: str | os.PathLike[str] | None = None,
    fallback_home: Path | None = None,
) -> Config:
    """Take each setting from the first source that has it; ``fallback_home`` is used when no source has a home.

    Raises ConfigurationError for a setting in the wrong form, for a stored file that cannot be read, and when the
    key and the address of a server that is not the default one come from two sources.
    """
    home_path = home_folder(home, fallback_home)
    stored = stored_settings(home_path, fallback_home)
    dotenv = read_dotenv()
    server = find("workflow_url", stored, workflow_url, dotenv)
    url = checked_url(server.value or DEFAULT_URL)
    if url == SANDBOX:
        # A stored key is not sent: a server that renders previews needs none.
        key = Setting(api_key, ARGUMENT) if api_key else Setting(SANDBOX_KEY, DEFAULT)
    else:
        key = find_key(stored, url, api_key, dotenv)
        if key.value and not go_together(key, url, server.source, stored):
            raise ConfigurationError(
                f"Nothing was sent: the key comes from {SOURCE_NAMES[key.source]}, the server's address {url} from "
                f"{SOURCE_NAMES[server.source]}",
                code="key_and_server_apart",
                remedy="set-key",
            )
    address = find("bucket", stored, dotenv=dotenv).value
    bucket = checked_bucket(address) if address else None
    options = stored.get("bucket_options")
    return Config(
        credentials=Credentials.parse(key.value) if key.value else None if is_public(url) else NO_KEY,
        workflow_url=url,
        home=home_path,
        key_source=key.source if key.value else "",
        image_delivery=checked_upload_method(find("image_delivery", stored, dotenv=dotenv).value or AUTO),
        bucket=bucket,
        # They belong to the stored bucket, and are not for another.
        bucket_options=Secret(
            options if isinstance(options, dict) and bucket and bucket == stored.get("bucket") else {}
        ),
        bucket_keep=(find("bucket_keep", stored, dotenv=dotenv).value or "").strip().lower()
        in ("1", "yes", "true", "on"),
        media_budget=find("media_budget", stored, dotenv=dotenv).value,
    )


def find_key(
    stored: Mapping[str, Any], url: str, argument: str | None = None, dotenv: Mapping[str, str] | None = None
) -> Setting:
    """The key for the server at ``url``, as ``find`` would; of the stored ones, that of this server."""
    key = find("api_key", stored, argument, dotenv)
    own = stored_key(stored, url)
    if own is None or key.source not in (STORED, DEFAULT):
        return key
    return Setting(own, STORED) if own else Setting(None, DEFAULT)


def go_together(key: Setting, url: str, url_source: str, stored: Mapping[str, Any]) -> bool:
    """Whether a key may be sent to a server, given where each comes from."""
    if key.source == STORED and stored_key(stored, url) is not None:
        return key.value == stored_key(stored, url)
    both = (key.source, url_source)
    return url == DEFAULT_URL or url_source in (ARGUMENT, key.source) or both == (ARGUMENT, ENVIRONMENT)


def stored_key(stored: Mapping[str, Any], url: str) -> str | None:
    """The key that is stored for the server at ``url``: "" for one that has none, None for a server not known."""
    return next((key for known, key in stored_keys(stored).items() if is_same_server(known, url)), None)


def stored_keys(stored: Mapping[str, Any]) -> dict[str, str]:
    """The known servers by their addresses, that of the network always, and the key that is stored for each, or ""."""
    others = stored.get(_KEYS)
    keys = {DEFAULT_URL: "", **(others if isinstance(others, dict) else {}), _keyed(stored): stored.get("api_key")}
    return {url: key if isinstance(key, str) else "" for url, key in keys.items()}


def _keyed(stored: Mapping[str, Any]) -> str:
    """The server that the stored ``api_key`` is for. The sandbox is sent none: under it, that is the network's."""
    url = stored.get("workflow_url")
    url = url if url and isinstance(url, str) else DEFAULT_URL
    with suppress(ConfigurationError):
        url = checked_url(url)
    return DEFAULT_URL if url == SANDBOX else url


def home_folder(home: str | os.PathLike[str] | None = None, fallback_home: Path | None = None) -> Path:
    """The folder for the ledger, media and the stored settings, from the first source that has one.

    Args:
        home: As for the clients.
        fallback_home: The folder where no home is set, in place of the platform's for user data.

    Raises:
        ConfigurationError: It is in the home of a user who has none, as in many containers.
    """
    folder = find("home", {}, os.fspath(home) if home else None).value
    path = Path(os.path.expanduser(folder)) if folder else fallback_home or default_home()  # noqa: PTH111 - that raises
    if path is None or str(path).startswith("~"):
        raise ConfigurationError(
            "There is no folder for tasks and results: this user has no home folder",
            advice="Set XALORA_HOME to a folder that can be written.",
        )
    return path


def default_home() -> Path | None:
    """The platform's folder for user data of the application "xalora"; None for a user without a home folder."""
    import platformdirs  # ComfyUI has to load neither this nor dotenv when it starts.

    try:
        home = platformdirs.user_data_path("xalora", appauthor=False)
    except RuntimeError:
        return None
    return home if home.is_absolute() else None


def store(
    home: Path,
    *,
    bucket_options: Mapping[str, str] | None = None,
    fallback_home: Path | None = None,
    check: Callable[[Mapping[str, Any]], object] = bool,
    **changes: str,
) -> Path:
    """Write settings to the home's config file, mode 0600, keeping the others; returns its path.

    ``changes`` are settings by name; an empty value removes one. Where the server changes and the key does not, the old
    server keeps its key, and the new one gets that which was stored for it. ``bucket_options`` are credentials and
    endpoint of the stored bucket, by obstore's names; storing another bucket without them removes them. ``check`` is
    called with the settings before they are written. Raises ConfigurationError when a value has the wrong form, and
    StorageError when the file cannot be written; the old file is then unchanged.
    """
    changes = {name: _CHECKED[name](value) if value and name in _CHECKED else value for name, value in changes.items()}
    path = _stored_file(home)
    try:
        with _locked(path.with_name(f"{path.name}.lock")):
            settings = _read_stored(home)
            if not settings and home == fallback_home:  # It had those of `xalora login`. The bucket stays there.
                settings = {name: value for name, value in _of_login().items() if name not in _OF_BUCKET}
            old_bucket = settings.get("bucket")
            settings = _changed(settings, changes)
            # Without a bucket, this home would have that of `xalora login`.
            if changes.get("bucket") == "" and home != default_home() and "bucket" in _of_login():
                settings["bucket"] = ""
            if bucket_options:
                settings["bucket_options"] = bucket_options
            elif bucket_options is not None or settings.get("bucket") != old_bucket:
                settings.pop("bucket_options", None)
            check(settings)
            _write(path, settings)
    except OSError as error:
        raise StorageError(
            f"The settings cannot be written to {path}: {error.strerror}",
            advice="Make the folder writable, or point XALORA_HOME elsewhere.",
        ) from error
    return path


def _changed(stored: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    """The stored settings after changes of the right form, each key with its server."""
    settings, changes = dict(stored), dict(changes)
    if "workflow_url" in changes:
        keys, url = stored_keys(settings), changes["workflow_url"]
        # In the spelling under which the ledger has its tasks.
        changes["workflow_url"] = next((known for known in keys if is_same_server(known, url)), url)
        if (server := _keyed(changes)) != _keyed(settings):
            changes.setdefault("api_key", keys.get(server, ""))
            settings[_KEYS] = {url: key for url, key in keys.items() if url != server and (key or url != DEFAULT_URL)}
    return {name: value for name, value in (settings | changes).items() if value or name not in (*changes, _KEYS)}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep others from changing the file meanwhile: what they store would be lost. Raises OSError."""
    give_up = time.monotonic() + _SECONDS_FOR_A_CHANGE
    lock = None
    with suppress(FileSystemError):  # Then two changes at once are a risk.
        while (lock := ProcessLock.acquire(path)) is None and time.monotonic() < give_up:
            time.sleep(0.01)
        if lock is None:
            raise TimeoutError(None, "another program is changing them")
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _write(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the file, which only its owner can read, whole or not at all. Raises OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        fresh.unlink(missing_ok=True)
        # Created with its mode, so that others can never read the key.
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(settings, file, indent=2)
        files.replace(fresh, path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


_CHECKED: dict[str, Callable[[str], str]] = {
    "api_key": lambda key: key if Credentials.parse(key) else "",  # It raises.
    "workflow_url": checked_url,
    "image_delivery": checked_upload_method,
    "bucket": checked_bucket,
}


def stored_settings(home: Path, fallback_home: Path | None = None) -> dict[str, Any]:
    """The stored settings that apply to a home, the key included. Raises ConfigurationError for a damaged file.

    A fallback home without settings has those of `xalora login`; one without a bucket has that of `xalora login`.
    """
    stored = _read_stored(home)
    of_login = _of_login() if home == fallback_home else {}
    if not stored and not of_login and (name := _profile()):
        raise ConfigurationError(
            f"There is no profile {name}", advice=f"Run `xalora login --profile {name}`, or change {PROFILE}."
        )
    if home != fallback_home:
        return stored
    if not stored:
        return of_login
    if "bucket_options" not in stored and stored.get("bucket", of_login.get("bucket")) == of_login.get("bucket"):
        stored = {name: of_login[name] for name in _OF_BUCKET if name in of_login} | stored
    return stored


def read_dotenv() -> dict[str, str]:
    """What ``.env`` in the working directory sets. Raises ConfigurationError when it cannot be read."""
    from dotenv import dotenv_values

    path = Path(".env")
    try:
        # Some editors put a byte order mark first.
        return {name: value for name, value in dotenv_values(path, encoding="utf-8-sig").items() if value}
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path.absolute()} cannot be read: {error}", advice="Save it as plain UTF-8 text, or remove it."
        ) from error


def _profile() -> str | None:
    """The name of the profile in force, None without one. Raises ConfigurationError for an impossible name."""
    name = os.environ.get(PROFILE) or read_dotenv().get(PROFILE)
    if name and not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,59}", name):
        raise ConfigurationError(
            f"{PROFILE} is {name[:60]!r}", advice="Allowed: letters, digits and ._- in a short name."
        )
    return name or None


def _stored_file(home: Path) -> Path:
    """The file with the settings in force, which need not exist."""
    name = _profile()
    return home / "profiles" / f"{name}.json" if name else home / _STORED_FILE


def _of_login() -> dict[str, Any]:
    """What `xalora login` stores where no home is set."""
    return _read_stored(default_home())


def _read_stored(home: Path | None) -> dict[str, Any]:
    if home is None:
        return {}
    path = _stored_file(home)
    try:
        settings: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{path} cannot be read as settings", advice="Delete it and set the key again.")
    return {name: value for name, value in settings.items() if isinstance(value, str | dict)}
