"""The settings in force, for people: without the keys, but with where each comes from. And changes to the stored ones.

A key is sent only to the server it was set with. It stays stored while another server is in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import config
from ..errors import ConfigurationError, InvalidParameterError
from ..protocol.parameters import Number
from ..protocol.requests import WITHOUT_KEY, Credentials
from ..protocol.urls import Link
from . import SOURCE_NAMES, VARIABLES, Setting
from .validation import AUTO, DEFAULT_URL, SANDBOX, checked_bucket, checked_url, is_public


@dataclass(frozen=True)
class Settings:
    """The settings in force. Of the key, only whose it is.

    An address that is not valid may hold a password: of the server's, only the part that is safe to show is there, of
    the bucket's nothing.

    Attributes:
        consumer: Who creates tasks; None without a key.
        server: An address, or "sandbox".
        home: The folder for the ledger, media and stored settings.
        image_delivery: How images get to the miners: "auto", "bucket", "sequencer" or "data-uri".
        bucket: The bucket for images, or None.
        media_budget: Gigabytes for results; None for the default.
        servers: The stored servers that can be asked, by their addresses, and whose key is stored for each; None for
            one of one's own without a key.
        problem: What is wrong with the settings as they are, or None.
    """

    consumer: Setting
    server: Setting
    home: Setting
    image_delivery: Setting
    bucket: Setting
    media_budget: Setting
    problem: ConfigurationError | None
    servers: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Which kind of server: "network" is Xalora's own, "own" any other, "sandbox" the local one."""
        return self.kind_of(self.server.value or "")  # It is empty when an address has no form that can be shown.

    @staticmethod
    def kind_of(server: str) -> str:
        """The same for another server.

        Args:
            server: Its address, or "sandbox".

        Returns:
            "network", "own" or "sandbox".
        """
        return "sandbox" if server == SANDBOX else "network" if is_public(server) else "own"


def read_settings(fallback_home: Path | None = None) -> Settings:
    """Read the settings in force.

    Args:
        fallback_home: As for the clients.

    Returns:
        The settings, and where each comes from.

    Raises:
        ConfigurationError: ``.env`` or the stored settings cannot be read.
    """
    home = config.home_folder(fallback_home=fallback_home)
    stored = config.stored_settings(home, fallback_home)
    dotenv = config.read_dotenv()
    found = {name: config.find(name, stored, dotenv=dotenv) for name in (*_NAMES, "home")}
    server, delivery, bucket = (found[name] for name in ("workflow_url", "image_delivery", "bucket"))
    address = _address(server.value or DEFAULT_URL)
    key = config.find_key(stored, address, dotenv=dotenv) if address not in ("", SANDBOX) else found["api_key"]
    problem: ConfigurationError | None = None
    consumer = None
    try:
        if key.value:
            consumer = Credentials.parse(key.value).consumer_id
        settings = config.load(fallback_home=fallback_home)
        if not settings.is_sandbox:
            settings.require_credentials()
    except ConfigurationError as error:
        problem = error
    return Settings(
        consumer=replace(key, value=consumer),
        server=replace(server, value=address),
        home=replace(found["home"], value=str(home)),
        image_delivery=replace(delivery, value=delivery.value or AUTO),
        bucket=replace(bucket, value=_bucket(bucket.value)),
        media_budget=found["media_budget"],
        problem=problem,
        servers={
            url: _consumer(each) for url, each in config.stored_keys(stored).items() if each or not is_public(url)
        },
    )


def server_arguments(server: str, fallback_home: Path | None = None) -> tuple[str | None, str | None]:
    """Key and address for a client that is to ask a task's server, also while another server is in force.

    Args:
        server: Its address, as the ledger has it, or "sandbox".
        fallback_home: As for the clients.

    Returns:
        Both are None for the server in force, and for one that cannot be asked.

    Raises:
        ConfigurationError: As ``read_settings`` raises it.
    """
    if server == SANDBOX:  # Its key is no secret, and it needs no settings.
        return None, SANDBOX
    settings = read_settings(fallback_home)
    if server == settings.server.value or server not in settings.servers:
        return None, None
    stored = config.stored_settings(Path(settings.home.value or ""), fallback_home)
    return config.stored_key(stored, server) or WITHOUT_KEY, server


def change_settings(fallback_home: Path | None = None, **changes: str) -> None:
    """Store settings, the others stay. An empty text takes one back to its default; for ``bucket`` that is none.

    A stored key that was set for another server stays with that one when the server changes.

    Args:
        fallback_home: As for the clients.
        changes: ``api_key``, ``workflow_url``, ``image_delivery``, ``bucket``, and ``media_budget`` in gigabytes.

    Raises:
        ConfigurationError: A setting is not known, has the wrong form, or is decided by the environment or ``.env``, or
            key and server would come from two sources.
        StorageError: The file cannot be written.
    """
    home = config.home_folder(fallback_home=fallback_home)
    for name in changes:
        if name not in _NAMES:
            raise InvalidParameterError("name", name, ", ".join(_NAMES))
        setting = config.find(name, {})
        if not setting.editable:
            raise ConfigurationError(
                f"{_NAMES[name].capitalize()} is set by {VARIABLES[name]} in {SOURCE_NAMES[setting.source]}",
                advice="Change it there, or remove it there to set it here.",
            )
    if budget := changes.get("media_budget"):
        try:
            _BUDGET.check("media_budget", float(budget))
        except ValueError:  # That of the check is one, too.
            raise InvalidParameterError("media_budget", budget, _BUDGET.allowed) from None

    def check(stored: Mapping[str, Any]) -> None:
        if changes.keys() & {"api_key", "workflow_url"}:
            _check_sources(stored)

    config.stored_settings(home, fallback_home)  # Raises where there is no such profile.
    stored: dict[str, Any] = dict(changes)
    config.store(home, fallback_home=fallback_home, check=check, **stored)


_NAMES = {
    "api_key": "the key",
    "workflow_url": "the server",
    "image_delivery": "the upload method",
    "bucket": "the bucket",
    "media_budget": "the media budget",
}
"""The settings that can be changed here, and what messages call them."""

_BUDGET = Number("gigabytes of media", minimum=0, maximum=1e6)


def _check_sources(stored: Mapping[str, Any]) -> None:
    """Raise ConfigurationError when no request could be sent, because key and server come from two sources."""
    dotenv = config.read_dotenv()
    key, server = (config.find(name, stored, dotenv=dotenv) for name in ("api_key", "workflow_url"))
    address = (server.value or DEFAULT_URL).strip().rstrip("/")
    if not key.value or address.lower() == SANDBOX or config.go_together(key, address, server.source, stored):
        return
    name, fixed = ("workflow_url", server) if key.editable else ("api_key", key)
    raise ConfigurationError(
        f"Nothing was stored: {_NAMES[name]} is set by {VARIABLES[name]} in {SOURCE_NAMES[fixed.source]}",
        advice="A key is sent only to the server it was set with. Set both there, or remove it there to set both here.",
    )


def _address(text: str) -> str:
    try:
        return checked_url(text)
    except ConfigurationError:
        with suppress(ValueError):
            return Link.parse(text).display_url.rstrip("/")
        return ""


def _bucket(text: str | None) -> str | None:
    with suppress(ConfigurationError):
        return checked_bucket(text) if text else None
    return None


def _consumer(key: str) -> str | None:
    with suppress(ConfigurationError):
        return Credentials.parse(key).consumer_id
    return None
