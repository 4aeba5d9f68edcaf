"""What is sent to the sequencer, without I/O: requests, credentials, and the addresses they go to.

Every call is ``POST {server}/{endpoint}`` with a JSON body; the key travels in the body. Endpoints and bodies are
those recorded from the npm package ``heurist`` 0.0.43.
"""

from __future__ import annotations

import json
import re
import socket
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from ..errors import ConfigurationError
from .parameters import Text
from .tasks import WorkflowTask

_TASK_ID = Text("a task's id")
HIDDEN = "***"

SHORTEST_SECRET = 6
"""Keys shorter than this are not searched for in texts: they would match by accident."""


@dataclass(frozen=True)
class Credentials:
    """A consumer and its key. Both travel in the request's body; ``repr`` shows neither."""

    consumer_id: str = field(repr=False)
    api_key: str = field(repr=False)

    @classmethod
    def parse(cls, combined: str) -> Credentials:
        """Split a combined key. npm ``heurist`` 0.0.43 drops what follows a second separator; this keeps it.

        Args:
            combined: ``consumer#key``, split at the first ``#``; else ``consumer-key``, split at the first ``-``.

        Returns:
            Both parts.

        Raises:
            ConfigurationError: One part is missing. The text does not contain the key.
        """
        combined = combined.strip()
        separator = "#" if "#" in combined else "-"
        consumer_id, _, api_key = combined.partition(separator)
        if not consumer_id or not api_key:
            raise ConfigurationError(code="key_form", remedy="set-key")
        return cls(consumer_id, api_key)


def redact(text: str, secret: str) -> str:
    """Return the text with the secret replaced by ``***``."""
    return text.replace(secret, HIDDEN) if len(secret) >= SHORTEST_SECRET else text


@dataclass(frozen=True)
class CreateRequest:
    """A task to create, by whom, and under which job id. ``details`` are the task's, with addresses, once known."""

    task: WorkflowTask
    credentials: Credentials
    job_id: str
    details: Any = None


@dataclass(frozen=True)
class Request:
    """One POST. ``body`` holds the key, so ``repr`` leaves it out.

    With ``is_ascii``, all other characters are escaped, so that text that is not Unicode can be sent.
    """

    url: str
    body: Mapping[str, object] = field(repr=False)
    task_id: str | None = None
    is_ascii: bool = False

    @property
    def secret(self) -> str:
        """The key, which must not appear in anything shown to people."""
        return str(self.body.get("api_key") or self.body.get("miner_key") or "")

    @property
    def wait_seconds(self) -> float:
        """How long the server may wait before it answers."""
        return float(str(self.body.get("wait_seconds") or 0))

    def without_wait(self) -> Request:
        """The same request, to be answered at once."""
        body = {name: value for name, value in self.body.items() if name not in ("wait_seconds", "after")}
        return replace(self, body=body) if self.wait_seconds else self

    def content(self) -> bytes:
        """The body as it is sent. Raises TypeError, ValueError or RecursionError when it is not JSON."""
        return json.dumps(self.body, ensure_ascii=self.is_ascii, allow_nan=False).encode()


@dataclass(frozen=True)
class Response:
    """One answer: status, headers with lower-case names, the whole body, and the Unix time it arrived."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received: float


@dataclass(frozen=True)
class Sequencer:
    """Where requests go, and who sends them."""

    url: str
    credentials: Credentials

    def create(self, create_request: CreateRequest) -> Request:
        """``task_create``. ``workflow_id`` and ``timeout_seconds`` are left out when unset (or 0)."""
        task = create_request.task
        body: dict[str, Any] = {
            "consumer_id": create_request.credentials.consumer_id,
            "api_key": create_request.credentials.api_key,
            "task_type": task.task_type,
            "task_details": task.task_details if create_request.details is None else create_request.details,
            "job_id": create_request.job_id,
        }
        if task.workflow_id:
            body["workflow_id"] = task.workflow_id
        if task.timeout_seconds:
            body["timeout_seconds"] = task.timeout_seconds
        return Request(f"{self.url}/task_create", body)

    def query(self, task_id: str, credentials: Credentials, **waiting: float) -> Request:
        """``task_result_query``. Raises InvalidParameterError for what cannot be a task id.

        ``wait_seconds`` and ``after`` (a revision) are for servers that announced that queries may wait.
        """
        return self._about("task_result_query", task_id, credentials, **waiting)

    def cancel(self, task_id: str, credentials: Credentials) -> Request:
        """``task_cancel``. Raises InvalidParameterError for what cannot be a task id."""
        return self._about("task_cancel", task_id, credentials)

    def resource(self, consumer_id: str | None, workflow_id: str | None, task_type: str | None) -> Request:
        """``resource_request``."""
        body = {
            "consumer_id": consumer_id or self.credentials.consumer_id,
            "api_key": self.credentials.api_key,
        }
        optional = {"workflow_id": workflow_id, "task_type": task_type}
        return Request(
            f"{self.url}/resource_request", body | {name: value for name, value in optional.items() if value}
        )

    def credentials_of(self, task: WorkflowTask) -> Credentials:
        """The task's own consumer and key where it has them, else the client's."""
        return Credentials(task.consumer_id or self.credentials.consumer_id, task.api_key or self.credentials.api_key)

    def _about(self, endpoint: str, task_id: str, credentials: Credentials, **more: float) -> Request:
        _TASK_ID.check("task_id", task_id)
        body = {"task_id": task_id, "api_key": credentials.api_key, **more}
        return Request(f"{self.url}/{endpoint}", body, task_id=task_id)


_DEFAULT_PORTS = {"http": 80, "https": 443}
LONGEST_SHOWN = 200


@dataclass(frozen=True)
class Link:
    """An http or https address.

    ``host`` is what is connected to: ASCII, in lower case, an IPv6 address without brackets. ``target`` is the path and
    query as they are sent. ``login`` is the address's own ``user:password``, as written.
    """

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)
    login: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Link:
        """Read an absolute address. Non-ASCII characters and spaces in it are percent-encoded, nothing else changes.

        Raises ValueError, without the address in its text, for what cannot be connected to.
        """
        match = re.fullmatch(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", text.strip(), re.IGNORECASE | re.DOTALL)
        if match is None or re.search(r"[\x00-\x1f\x7f]", match[0]):
            raise ValueError("this is not an http address")
        login, at, place = match[2].rpartition("@")
        parts = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{0,5}))?", place)
        if parts is None:
            raise ValueError("the address has no host that can be read")
        scheme = match[1].lower()
        port = int(parts[2]) if parts[2] else _DEFAULT_PORTS[scheme]
        if not 0 < port < 65536:
            raise ValueError("the address has an impossible port")
        try:
            host, target = _host(parts[1]), _encoded(match[3])
        except ValueError:  # Its message may contain the address.
            raise ValueError("the address has an impossible host or path") from None
        if not target.startswith("/"):
            target = f"/{target}"
        return cls(scheme, host, port, target, login if at else None)

    def join(self, location: str) -> Link:
        """Where a redirect from here leads. Only a relative address is resolved; the rest stays as written.

        Raises ValueError as ``parse`` does.
        """
        location = location.strip()
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location):
            return Link.parse(location)
        if location.startswith("//"):
            return Link.parse(f"{self.scheme}:{location}")
        path = self.target.partition("?")[0]
        location = location.partition("#")[0]
        if not location:
            target = self.target
        elif location.startswith("/"):
            target = location
        elif location.startswith("?"):
            target = path + location
        else:
            folder = path.rpartition("/")[0]
            while match := re.match(r"\.(\.?)(?:/|$|(?=\?))", location):
                location = location[match.end() :]
                folder = folder.rpartition("/")[0] if match[1] else folder
            target = f"{folder}/{location}"
        return Link.parse(self._prefix(self.login) + target)

    @property
    def origin(self) -> str:
        """Scheme, host, and the port unless it is the scheme's default."""
        return self._prefix(None)

    @property
    def text(self) -> str:
        """The whole address, including its login."""
        return self._prefix(self.login) + self.target

    @property
    def display_url(self) -> str:
        """The address to show: without the login, and without the query, which may be a signature."""
        text = self.origin + self.target.partition("?")[0]
        return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"

    @property
    def authorization(self) -> str | None:
        """The value of the Authorization header for the address's login, or None."""
        return None if self.login is None else basic_authorization(self.login)

    def _prefix(self, login: str | None) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{login + '@' if login is not None else ''}{host}{port}"


def basic_authorization(login: str) -> str:
    """The value of an Authorization header for a percent-encoded ``user:password``."""
    user, _, password = login.partition(":")
    return "Basic " + b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password)).decode()


def display_url(text: str) -> str:
    """A text that should be an address, in a form that is safe to show."""
    try:
        return Link.parse(text).display_url
    except ValueError:
        return "an address that cannot be read"


def _encoded(text: str) -> str:
    # Header bytes that are not UTF-8 are held as lone surrogates; this turns them back into those bytes.
    data = text.encode("utf-8", "surrogateescape")
    return re.sub(rb"[^\x21-\x7e]", lambda match: b"%%%02X" % match[0][0], data).decode("ascii")


def _host(name: str) -> str:
    """The host in one spelling, which is then resolved, checked and connected to."""
    if name.startswith("["):
        return IPv6Address(name[1:-1]).compressed
    name = unquote(name, errors="strict")
    if not name.isascii():
        from yarl import URL  # Here, because it would slow down every start of ComfyUI.

        name = URL.build(scheme="http", host=name).raw_host or ""
    name = name.lower()
    bare = name.removesuffix(".")
    # Checked before inet_aton, which ignores everything after a space.
    if len(bare) > 253 or not all(re.fullmatch(r"[a-z0-9_-]{1,63}", label) for label in bare.split(".")):
        raise ValueError
    with suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(bare))  # Also "127.1", "0x7f000001" and "2130706433".
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", bare.rpartition(".")[2]):
        raise ValueError
    return name
