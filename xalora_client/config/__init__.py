"""Where the key, the server's address, the bucket for images and the home folder come from.

Arguments come first, then the environment, then ``.env`` in the working directory, then the stored file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs
from dotenv import dotenv_values

from ..errors import ConfigurationError, StorageError
from ..protocol.requests import Credentials
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
)

SANDBOX_KEY = "sandbox#local-preview"

KEY, HOME, KEEP = "XALORA_API_KEY", "XALORA_HOME", "XALORA_BUCKET_KEEP"
_STORED_FILE = "config.json"
_OF_BUCKET = ("bucket", "bucket_options", "bucket_keep")


@dataclass(frozen=True)
class Config:
    """The settings in force. ``workflow_url`` has no trailing slash, or is ``sandbox``; ``credentials`` hide the key.

    ``home`` is the folder for the ledger, media and the stored config; it need not exist yet. ``key_source`` and
    ``url_source`` are "argument", "environment", ".env", "stored" or "default"; an unset key has "".

    ``image_delivery`` is one of DELIVERIES. ``bucket`` is ``s3://name/prefix``, ``gs://…``, ``az://…`` or
    None; ``bucket_options`` are its stored credentials and endpoint by obstore's names, which ``repr`` hides;
    ``bucket_keep`` says that images stay there after their tasks. ``media_budget`` is in gigabytes, as stored.
    """

    credentials: Credentials | None
    workflow_url: str
    home: Path
    key_source: str = ""
    url_source: str = ""
    image_delivery: str = AUTO
    bucket: str | None = None
    bucket_options: Mapping[str, str] = field(default_factory=dict, repr=False)
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


_ARGUMENT, _ENVIRONMENT, _DOTENV, _STORED, _DEFAULT = "argument", "environment", ".env", "stored", "default"
_PLACES = {
    _ARGUMENT: "an argument",
    _ENVIRONMENT: "the environment",
    _DOTENV: "the .env file here",
    _STORED: "the stored settings",
}


def load(
    api_key: str | None = None,
    workflow_url: str | None = None,
    home: str | os.PathLike[str] | None = None,
    fallback_home: Path | None = None,
    *,
    image_delivery: str | None = None,
    bucket: str | None = None,
) -> Config:
    """Take each setting from the first source that has it; ``fallback_home`` is used when no source has a home.

    Raises ConfigurationError for a setting in the wrong form, for a stored file that cannot be read, and when the
    key and the address of a server that is not the default one come from two sources.
    """
    dotenv = dotenv_settings()
    home_path = home_folder(home, fallback_home)
    stored = stored_settings(home_path, fallback_home)

    def first(argument: str | None, name: str, stored_name: str) -> tuple[str | None, str]:
        sources = {
            _ARGUMENT: argument,
            _ENVIRONMENT: os.environ.get(name),
            _DOTENV: dotenv.get(name),
            _STORED: _text(stored.get(stored_name)),
        }
        return next(((value, source) for source, value in sources.items() if value), (None, ""))

    server, url_source = first(workflow_url, URL, "workflow_url")
    url = checked_url(server or DEFAULT_URL)
    if url == SANDBOX:
        # A stored key is not sent: a server that renders previews needs none.
        key: str | None = api_key or SANDBOX_KEY
        key_source = _ARGUMENT if api_key else _DEFAULT
    else:
        key, key_source = first(api_key, KEY, "api_key")
        if key and not go_together(key_source, url, url_source):
            raise ConfigurationError(
                f"Nothing was sent: the key comes from {_PLACES[key_source]}, the server's address {url} from "
                f"{_PLACES[url_source]}",
                code="key_and_server_apart",
                remedy="set-key",
            )
    delivery, _ = first(image_delivery, IMAGE_DELIVERY, "image_delivery")
    address, _ = first(bucket, BUCKET, "bucket")
    place = checked_bucket(address) if address else None
    options = stored.get("bucket_options")
    return Config(
        credentials=Credentials.parse(key) if key else None,
        workflow_url=url,
        home=home_path,
        key_source=key_source if key else "",
        url_source=url_source or _DEFAULT,
        image_delivery=checked_upload_method(delivery or AUTO),
        bucket=place,
        # They belong to the stored bucket, and are not for another.
        bucket_options=options if place and isinstance(options, dict) and place == stored.get("bucket") else {},
        bucket_keep=_is_yes(first(None, KEEP, "bucket_keep")[0]),
        media_budget=_text(stored.get("media_budget")),
    )


def go_together(key_source: str, url: str, url_source: str) -> bool:
    """Whether a key may be sent to a server, given where each comes from."""
    both = (key_source, url_source)
    return url == DEFAULT_URL or url_source in (_ARGUMENT, key_source) or both == (_ARGUMENT, _ENVIRONMENT)


def home_folder(home: str | os.PathLike[str] | None = None, fallback_home: Path | None = None) -> Path:
    """The folder for the ledger, media and the stored settings, from the first source that has one."""
    folder = os.fspath(home) if home else os.environ.get(HOME) or _read_dotenv(Path(".env")).get(HOME)
    return Path(folder).expanduser() if folder else fallback_home or default_home()


def default_home() -> Path:
    """The platform's folder for user data of the application "xalora"."""
    return platformdirs.user_data_path("xalora", appauthor=False)


def store(
    home: Path,
    *,
    api_key: str | None = None,
    workflow_url: str | None = None,
    image_delivery: str | None = None,
    bucket: str | None = None,
    bucket_options: Mapping[str, str] | None = None,
    media_budget: str | None = None,
) -> Path:
    """Write the given settings to the home's config file, mode 0600, keeping the others; returns its path.

    An empty value removes a setting. ``bucket_options`` are credentials and endpoint of the stored bucket, by
    obstore's names; storing another bucket without them removes them. Raises ConfigurationError when a value has the
    wrong form, and StorageError when the file cannot be written; the old file is then unchanged.
    """
    settings = _read_stored(home)
    bucket = checked_bucket(bucket) if bucket else bucket
    if bucket is not None and bucket != settings.get("bucket") and bucket_options is None:
        bucket_options = {}
    # Without a bucket, this home would have that of `xalora login`.
    hides = home != default_home() and "bucket" in _read_stored(default_home())
    given = {
        "api_key": api_key,
        "workflow_url": workflow_url,
        "image_delivery": image_delivery,
        "bucket": bucket,
        "bucket_options": bucket_options,
        "media_budget": media_budget,
    }
    for name, value in given.items():
        if value is not None and not value and not (name == "bucket" and hides):
            settings.pop(name, None)
        elif value is not None:
            settings[name] = value
    if "api_key" in settings:
        Credentials.parse(settings["api_key"])
    for name, checked in (
        ("workflow_url", checked_url),
        ("image_delivery", checked_upload_method),
    ):
        if name in settings:
            settings[name] = checked(settings[name])
    path = home / _STORED_FILE
    fresh = path.with_name(f"{_STORED_FILE}.{os.getpid()}.new")
    try:
        home.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        # Created with its mode, so that others can never read the key.
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(settings, file, indent=2)
        fresh.replace(path)
    except OSError as error:
        raise StorageError(
            f"The settings cannot be written to {path}: {error.strerror}",
            advice=f"Make the folder writable, or point {HOME} elsewhere.",
        ) from error
    return path


def dotenv_settings() -> dict[str, str]:
    """What ``.env`` in the working directory sets. Raises ConfigurationError when it cannot be read."""
    return _read_dotenv(Path(".env"))


def stored_settings(home: Path, fallback_home: Path | None = None) -> dict[str, str]:
    """The stored settings that apply to a home, the key included. Raises ConfigurationError for a damaged file.

    A fallback home without settings has those of `xalora login`; one without a bucket has that of `xalora login`.
    """
    stored = _read_stored(home)
    if home != fallback_home:
        return stored
    of_login = _read_stored(default_home())
    if not stored:
        return of_login
    if "bucket_options" not in stored and stored.get("bucket", of_login.get("bucket")) == of_login.get("bucket"):
        stored = {name: of_login[name] for name in _OF_BUCKET if name in of_login} | stored
    return stored


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        return {name: value for name, value in dotenv_values(path).items() if value}
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path.absolute()} cannot be read: {error}", advice="Save it as plain UTF-8 text, or remove it."
        ) from error


def _read_stored(home: Path) -> dict[str, Any]:
    path = home / _STORED_FILE
    try:
        settings: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{path} cannot be read as settings", advice="Delete it and set the key again.")
    return {name: value for name, value in settings.items() if isinstance(value, str | dict)}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _is_yes(value: str | None) -> bool:
    return (value or "").strip().lower() in ("1", "yes", "true", "on")
