"""The sequencer: whether it answers, what it is, and whether it takes the key. And this machine's clock against its."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from ..config import Config
from ..config.validation import is_public
from ..errors import ConfigurationError, XaloraError
from ..http.upload import WebTransport
from ..protocol.requests import Response, Sequencer
from .check import OK, PROBLEM, WARNING, Check, failed

NO_TASK = "doctor-asks-for-no-task"
"""A task id that no server has: asking for it tells whether the key is taken, and costs nothing."""

SECONDS = 20.0


@dataclass(frozen=True)
class About:
    """What the first request to the server found.

    ``skew`` is by how many seconds this clock is ahead; it and ``takes_images`` are None where that is not known.
    """

    check: Check
    reached: bool = False
    takes_images: bool | None = None
    skew: float | None = None


async def check_server(settings: Config, web: WebTransport) -> About:
    """Ask the server what it is."""
    url = settings.workflow_url
    if settings.is_sandbox:
        text = "the sandbox starts with the first task; it makes previews on this machine"
        return About(Check("server", OK, text), takes_images=True)
    try:
        answer = await web.ask("GET", f"{url}/", {"Accept": "application/json"})
    except XaloraError as error:
        return About(failed("server", error))
    about = _json(answer)
    skew = _skew(answer)
    takes_images = about.get("image_upload") is True
    if isinstance(about.get("service"), str):
        words = " ".join(str(about.get(name, ""))[:60] for name in ("service", "version"))
        return About(Check("server", OK, f"{url} is a {words.strip()}"), True, takes_images, skew)
    if answer.status >= 500:
        problem = Check("server", PROBLEM, f"{url} answers {answer.status}", "Try again later, or ask its operator.")
        return About(problem, True, None, skew)
    kind = "Xalora's public network" if is_public(url) else "a sequencer of another kind"
    return About(Check("server", OK, f"{url} answers; {kind}"), True, False, skew)


async def check_key(settings: Config, web: WebTransport) -> list[Check]:
    """Ask the server about a task that does not exist, with the key."""
    if settings.is_sandbox or settings.credentials is None:
        return []
    request = Sequencer(settings.workflow_url, settings.credentials).query(NO_TASK, settings.credentials)
    name = "key at the server"
    try:
        answer = await web.send(request, SECONDS)
    except XaloraError as error:
        return [failed(name, error)]
    if answer.status in (401, 403):
        advice = "Copy the whole key from your Xalora account, and check that it belongs to this server."
        return [Check(name, PROBLEM, f"the server does not accept it ({answer.status})", advice)]
    if answer.status == 404 or 200 <= answer.status < 300:
        return [Check(name, OK, "the server does not refuse it")]
    untried = ConfigurationError(f"it could not be tried: the server answered {answer.status}", code="key_not_tried")
    return [failed(name, untried, WARNING)]


def check_clock(about: About) -> Check:
    """Compare the clocks: signed links are only valid for a time."""
    if about.skew is None:
        return Check("clock", OK, "the server does not say what time it is")
    off = abs(about.skew)
    text = f"{off:.0f} s {'ahead of' if about.skew > 0 else 'behind'} the server's"
    advice = "Let the system set the clock: links to images are signed with the time."
    if off > 300:
        return Check("clock", PROBLEM, text, advice)
    return Check("clock", WARNING, text, advice) if off > 30 else Check("clock", OK, "agrees with the server's")


def _skew(answer: Response) -> float | None:
    try:
        return answer.received - parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return None


def _json(answer: Response) -> dict[str, object]:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
