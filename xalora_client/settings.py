"""The settings in force, for people: without the key, but with where each comes from. And changes to the stored ones.

A key is sent only to the server it was set with, so a change of the server keeps the key only where both may share one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import config
from .config import DEFAULT_URL, SANDBOX
from .errors import ConfigurationError
from .protocol.requests import Credentials

ENVIRONMENT, DOTENV, STORED, DEFAULT = "environment", ".env", "stored", "default"
"""Where a setting may come from."""

_FIXED = (ENVIRONMENT, DOTENV)


@dataclass(frozen=True)
class Setting:
    """A setting's value, None where there is none, and where it comes from."""

    value: str | None
    source: str

    @property
    def editable(self) -> bool:
        """Whether a stored value would be used: the environment and ``.env`` come first."""
        return self.source not in _FIXED


@dataclass(frozen=True)
class Settings:
    """The settings in force. Of the key, only whose it is: ``consumer`` is None without a key.

    ``server`` is an address or "sandbox". ``problem`` says what is wrong with the settings as they are, or is None.
    """

    consumer: Setting
    server: Setting
    home: Setting
    problem: str | None

    @property
    def kind(self) -> str:
        """Which kind of server: "network" is Xalora's own, "own" any other, "sandbox" the local one."""
        return {DEFAULT_URL: "network", SANDBOX: "sandbox"}.get(self.server.value or DEFAULT_URL, "own")

    @property
    def has_key(self) -> bool:
        """Whether there is a key, or none is needed."""
        return self.server.value == SANDBOX or self.consumer.value is not None


def read_settings(fallback_home: Path | None = None) -> Settings:
    """The settings in force; ``fallback_home`` is as in the clients. Raises ConfigurationError for unreadable files."""
    key, server = (_setting(name, stored, fallback_home) for name, stored in _NAMES)
    problem = None
    try:
        settings = config.load(fallback_home=fallback_home)
        if not settings.is_sandbox:
            settings.require_credentials()
    except ConfigurationError as error:
        problem = str(error)
    consumer = None
    if key.value:
        try:
            consumer = Credentials.parse(key.value).consumer_id
        except ConfigurationError:
            consumer = None
    home = config.home_folder(fallback_home=fallback_home)
    return Settings(
        Setting(consumer, key.source),
        Setting((server.value or DEFAULT_URL).strip().rstrip("/"), server.source),
        Setting(str(home), _source(config.HOME, None, fallback_home)[1]),
        problem,
    )


def change_settings(
    fallback_home: Path | None = None, *, api_key: str | None = None, server: str | None = None
) -> None:
    """Store a key, a server ("" is the default one), or both. None leaves a setting as it is, "" removes a key.

    A stored key that was set for another server is removed when the server changes. Raises ConfigurationError for a
    value in the wrong form and for a setting that the environment or ``.env`` decides; StorageError when the file
    cannot be written.
    """
    home = config.home_folder(fallback_home=fallback_home)
    for value, what, (name, stored) in ((api_key, "key", _NAMES[0]), (server, "server", _NAMES[1])):
        source = _setting(name, stored, fallback_home).source
        if value is not None and source in _FIXED:
            where = "the environment" if source == ENVIRONMENT else "the .env file"
            raise ConfigurationError(
                f"The {what} is set by {name} in {where}", advice="Change it there, or remove it there to set it here."
            )
    before = config.stored_settings(home, fallback_home)
    old_server, old_key = before.get("workflow_url", ""), before.get("api_key")
    if server is None:
        server = old_server
    if api_key is None:
        api_key = old_key if _may_share_a_key(old_server, server) else ""
    config.store(home, api_key=api_key, workflow_url=server)


_NAMES = ((config.KEY, "api_key"), (config.URL, "workflow_url"))


def _setting(name: str, stored_name: str, fallback_home: Path | None) -> Setting:
    return Setting(*_source(name, stored_name, fallback_home))


def _source(name: str, stored_name: str | None, fallback_home: Path | None) -> tuple[str | None, str]:
    if value := os.environ.get(name):
        return value, ENVIRONMENT
    if value := config.dotenv_settings().get(name):
        return value, DOTENV
    home = config.home_folder(fallback_home=fallback_home)
    if stored_name and (value := config.stored_settings(home, fallback_home).get(stored_name)):
        return value, STORED
    return None, DEFAULT


def _may_share_a_key(old: str, new: str) -> bool:
    """The sandbox is sent no key, so one for the default server may stay while it is in use."""
    old, new = (each.strip().rstrip("/") or DEFAULT_URL for each in (old, new))
    return old == new or {old, new} <= {DEFAULT_URL, SANDBOX}
