"""What a case is made of, as plain data: the steps of an answer, and what is expected of a client that gets it.

In every text and every byte string, ``{files}`` stands for the address (host:port) of the server of that name, and
``{files.port}`` for its port; so for ``sequencer``, ``elsewhere``, ``proxy``, and for ``nobody``, where none listens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

KEY = "canary-key-7f3a9c21"
SIGNATURE = "canary-signature-51b2e8"
PASSWORD = "canary-password-c0de99"
CANARY = "canary-"
"""What each secret starts with. None may be in any text."""


@dataclass(frozen=True)
class Raw:
    """Send these bytes as they are."""

    data: bytes


@dataclass(frozen=True)
class Reply:
    """Send a whole answer with its true length. A body that is not bytes is sent as JSON."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = "Whatever"

    def content(self) -> bytes:
        """The body as it is sent."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Take:
    """Create the task that was asked for, and charge for it, whatever is answered then."""


@dataclass(frozen=True)
class Honest:
    """Answer as a server without faults."""


@dataclass(frozen=True)
class Drip:
    """Send the bytes one by one with pauses (real seconds); on the client's clock, each takes ``passes`` seconds."""

    data: bytes
    pause: float = 0.1
    passes: float = 0.0


@dataclass(frozen=True)
class Endless:
    """Send the head, then the piece again and again, until the client goes or ``most`` bytes are sent."""

    head: bytes
    piece: bytes
    most: int = 128 * 2**20


@dataclass(frozen=True)
class Bomb:
    """Answer with a body of zeros that is small only on the way: ``size`` bytes once unpacked."""

    status: int = 200
    coding: str = "gzip"
    size: int = 2**30


@dataclass(frozen=True)
class Silence:
    """Say nothing until the client goes; on its clock, ``passes`` seconds go by."""

    passes: float = 15.0


@dataclass(frozen=True)
class WhenIdle:
    """Once the client has taken the answer and does nothing, send this on the idle connection, or close it."""

    data: bytes


@dataclass(frozen=True)
class Read:
    """Wait for something to come in, and drop it."""


@dataclass(frozen=True)
class HalfClose:
    """Send no more, and go on receiving."""


@dataclass(frozen=True)
class Close:
    """Close the connection."""


@dataclass(frozen=True)
class Reset:
    """Drop the connection: the other side learns that it was reset."""


Step: TypeAlias = (
    Raw | Reply | Take | Honest | Drip | Endless | Bomb | Silence | WhenIdle | Read | HalfClose | Close | Reset
)
Answer: TypeAlias = Step | tuple[Step, ...]

TAKE, HONEST, CLOSE, RESET, SILENCE = Take(), Honest(), Close(), Reset(), Silence()

PICTURE = "http://{files}/media/picture.png"


@dataclass(frozen=True)
class Case:
    """One fault, and how a call has to end that meets it.

    * ``ends``: "success", or the class of error; several that are right are separated by " or ".
    * ``create``, ``query``, ``cancel``, ``resource``: what the sequencer answers there, call by call, the last again
      and again; ``file``, ``elsewhere``, ``proxy``: what those servers answer. Nothing given: an honest answer.
    * ``accept``, ``file_accept``: what the sequencer or the file server does on each connection before it reads.
    * ``do``: the calls, of run (create, wait, download), create, query, wait, cancel, resource, idle (for
      a ``WhenIdle``); with a + in between.
    * ``result``: what a query says where the result is.
    * ``public``: the sequencer and the file server are on the internet, as far as the client can tell.
    * ``secure``, ``untrusted``: servers that speak TLS, with a certificate that the client trusts, or does not;
      ``certificate`` is the one of the former.
    * ``creates``: requests to create in the first run; ``charges``: jobs that were charged once a second run, with
      everything healed, has ended in success.
    * ``slow``: the client's time limits are short ones, for the case is about them.
    * ``at_once``: the client does not sleep, for nothing gets better by it.
    * ``says``, ``names_job``: what the error's text holds. ``target``: what the file server was asked for, to the byte.
    * ``authorization``: what the file server was sent as login, where anything.
    * ``any_id``: the sequencer gives an id of its own. ``whole``: in spite of what the file server answers, the file is
      the picture.
    * ``contacts``: addresses that may be contacted besides the servers' own.
    * ``again``: how the second run ends.
    * ``seconds``, ``memory``: the most that the first run may take, the latter in MiB above rest.
    """

    name: str
    ends: str = "success"
    create: tuple[Answer, ...] = ()
    query: tuple[Answer, ...] = ()
    cancel: tuple[Answer, ...] = ()
    resource: tuple[Answer, ...] = ()
    file: tuple[Answer, ...] = ()
    elsewhere: tuple[Answer, ...] = ()
    proxy: tuple[Answer, ...] = ()
    accept: Answer = ()
    file_accept: Answer = ()
    do: str = "run"
    result: Any = PICTURE
    url: str | None = None
    public: bool = False
    secure: tuple[str, ...] = ()
    untrusted: tuple[str, ...] = ()
    certificate: str = "trusted-server"
    environment: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    creates: int = 1
    charges: int = 1
    slow: bool = False
    at_once: bool = False
    says: tuple[str, ...] = ()
    logs: str | None = None
    names_job: bool = False
    any_id: bool = False
    whole: bool = False
    target: str | None = None
    authorization: str | None = None
    seconds: float = 4.0
    memory: int = 64
    contacts: tuple[str, ...] = ()
    again: str = "success"
    kind: str = ""
