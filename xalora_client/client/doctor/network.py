"""The sequencer and the bucket: what they are, whether they take the keys, and how images get to the miners."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass

from ...config import SOURCE_NAMES, Config
from ...config.validation import (
    AUTO,
    BY_BUCKET,
    BY_DATA_URI,
    BY_SEQUENCER,
    EXAMPLE_URL,
    SANDBOX,
    checked_url,
    is_public,
)
from ...errors import ConfigurationError, XaloraError, listed, one_line
from ...http.ssrf import is_local
from ...http.upload import WebTransport
from ...protocol.hidden import SHORTEST_SECRET
from ...protocol.requests import Sequencer
from ...protocol.urls import Link
from ...uploads.bucket import Bucket
from ...uploads.bucket_errors import seconds_since
from ...uploads.to_sequencer import ask_about, json_object, takes_uploads
from ...uploads.uploads import folder_of, upload_method
from ..available import read_list
from .check import OK, PROBLEM, WARNING, Check, failed

NO_TASK = "doctor-asks-for-no-task"
"""A task id that no server has: asking for it tells whether the key is accepted, and costs nothing."""

SECONDS = 20.0
COMFYUI_SECONDS = 3.0
MOST_LEFT_OUT = 5
"""Workflows that are named because no miner runs them."""


@dataclass(frozen=True)
class About:
    """What the first request to the server found.

    ``skew`` is by how many seconds this clock is ahead; it and ``takes_uploads`` are None where that is not known.
    """

    check: Check
    reached: bool = False
    takes_uploads: bool | None = None
    skew: float | None = None


async def check_server(settings: Config, web: WebTransport) -> About:
    """Ask the server what it is."""
    url = settings.workflow_url
    if settings.is_sandbox:
        text = "the sandbox starts with the first task; it makes previews on this machine"
        return About(Check("server", OK, text), takes_uploads=True)
    try:
        answer = await ask_about(url, web)
    except XaloraError as error:
        return About(failed("server", error))
    about, skew = json_object(answer), seconds_since(answer, "date")
    if isinstance(about.get("service"), str):
        name = " ".join(str(about.get(part, ""))[:60] for part in ("service", "version")).strip()
        return About(Check("server", OK, f"{url} is a {name}"), True, takes_uploads(about), skew)
    if answer.status >= 500:
        problem = Check("server", PROBLEM, f"{url} answers {answer.status}", "Try again later, or ask its operator.")
        return About(problem, True, None, skew)
    try:
        await refuse_comfyui(url)
    except ConfigurationError as error:
        return About(failed("server", error), False, None, skew)
    kind = "Xalora's public network" if is_public(url) else "a sequencer of another kind"
    return About(Check("server", OK, f"{url} answers; {kind}"), True, False, skew)


async def refuse_comfyui(address: str) -> None:
    """Refuse an address where a ComfyUI answers: people mistake it for their sequencer's. No key is sent.

    Args:
        address: The address, as it was typed.

    Raises:
        ConfigurationError: It is a ComfyUI's, or has the wrong form.
    """
    url = checked_url(address)
    if url == SANDBOX or is_public(url):
        return
    web = WebTransport()
    for path, mark in (("system_stats", b'"devices"'), ("object_info", b'"output_node"')):
        try:
            answer = await web.ask("GET", f"{url}/{path}", seconds=COMFYUI_SECONDS)
        except XaloraError:
            return  # The checks say why it is not reached.
        if answer.status == 200 and mark in answer.body:
            params = {"address": url, "example": EXAMPLE_URL}
            raise ConfigurationError(code="comfyui_address", params=params, remedy="check-server")


def check_key_is_set(settings: Config) -> Check:
    """Whether there is a key, and where it comes from."""
    if settings.is_sandbox:
        return Check("key", OK, "the sandbox needs none")
    try:
        credentials = settings.require_credentials()
    except ConfigurationError as error:
        return failed("key", error)
    if not settings.key_source:
        return Check("key", OK, "none is set; a sequencer of your own may need none")
    text = f"set by {SOURCE_NAMES[settings.key_source]}"
    if len(credentials.api_key) < SHORTEST_SECRET:
        return Check("key", WARNING, f"{text}, and very short", "Copy the whole key, as you got it.")
    return Check("key", OK, text)


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
    if answer.status == 401 and not settings.key_source:
        return [failed(name, ConfigurationError(code="key_needed"))]
    if answer.status in (401, 403):
        advice = "Copy the whole key, as you got it, and check that it belongs to this server."
        return [Check(name, PROBLEM, f"the server does not accept it ({answer.status})", advice)]
    if answer.status == 404 or 200 <= answer.status < 300:
        return [Check(name, OK, "the server does not refuse it")]
    untried = ConfigurationError(f"it could not be tried: the server answered {answer.status}", code="key_not_tried")
    return [failed(name, untried, WARNING)]


async def check_miners(settings: Config, web: WebTransport) -> list[Check]:
    """Ask a sequencer of ours for any miner, and what there is to run. It is not kept, and costs nothing."""
    if settings.credentials is None:
        return []
    sequencer = Sequencer(settings.workflow_url, settings.credentials)
    known = sequencer.workflow_list(settings.credentials, None, None)
    try:
        answer = await web.send(sequencer.resource(None, None, None), SECONDS)
    except XaloraError as error:
        return [failed("miners", error, WARNING)]
    found = None
    with suppress(XaloraError):  # It only says more.
        found = read_list(await web.send(known, SECONDS), known)
    counts: dict[str, int] = {}
    if found:
        counts = {"workflows": len(found.workflows)}
        counts |= {} if found.miners is None else {"machines": found.miners}
    if answer.status == 503:
        advice = "Start one beside a ComfyUI with `xalora miner`; until then tasks wait."
        return [Check("miners", WARNING, "none is connected to the sequencer", advice, counts=counts)]
    if answer.status != 200:
        return []
    told = json_object(answer).get("left_out")
    left_out = [one_line(each, 200) for each in told if isinstance(each, str)] if isinstance(told, list) else []
    runs = f"; there is {listed([str(each.key) for each in found.workflows])}" if found and found.workflows else ""
    words = "; none runs ".join([f"at least one is connected{runs}", *left_out[:MOST_LEFT_OUT]])
    return [Check("miners", OK, words, counts=counts)]


def check_clock(about: About) -> Check:
    """Compare the clocks: signed links are only valid for a time."""
    if about.skew is None:
        return Check("clock", OK, "the server does not say what time it is")
    off = abs(about.skew)
    if off <= 30:
        return Check("clock", OK, "agrees with the server's")
    text = f"{off:.0f} s {'ahead of' if about.skew > 0 else 'behind'} the server's"
    advice = "Let the system set the clock: links to images are signed with the time."
    return Check("clock", PROBLEM if off > 300 else WARNING, text, advice)


async def check_images(settings: Config, web: WebTransport, *, takes_uploads: bool | None) -> list[Check]:
    """The upload method, and whether the bucket works. ``takes_uploads`` is None where that is not known."""
    name, bucket = "images to the miners", settings.bucket
    try:
        method = upload_method(settings, takes_uploads=takes_uploads is not False)
    except ConfigurationError as error:
        return [failed(name, error, WARNING if settings.image_delivery == AUTO else PROBLEM)]
    if method == BY_SEQUENCER and takes_uploads is None:
        return [Check(name, WARNING, "not known before the sequencer answers", "See the check of the server.")]
    texts = {
        BY_BUCKET: f"by the bucket {bucket}",
        BY_SEQUENCER: "by an upload to the sequencer",
        BY_DATA_URI: "inside the task itself, up to 32 MB each",
    }
    checks = [Check(name, OK, texts[method])]
    return checks + await _check_bucket(settings, bucket, web) if bucket and method == BY_BUCKET else checks


async def _check_bucket(settings: Config, url: str, web: WebTransport) -> list[Check]:
    bucket = Bucket(url, settings.bucket_options.reveal(), web)
    name, content = f"{folder_of(settings.home)}/doctor-{secrets.token_hex(8)}.txt", secrets.token_bytes(32)
    checks: list[Check] = []
    step = "bucket: write"
    try:
        await bucket.put(name, content, "text/plain")
        checks.append(Check(step, OK, "an object was stored"))
        step = "bucket: link"
        link = await bucket.link(name, 300)
        checks.append(Check(step, OK, "a link was signed"))
        step = "bucket: read from outside"
        checks += await _read(link, content, web)
        step = "bucket: remove"
        await bucket.remove(name)
        checks.append(Check(step, OK, "the object was removed"))
    except XaloraError as error:
        checks.append(failed(step, error))
        if checks[0].status == OK and step != "bucket: remove":
            with suppress(XaloraError):
                await bucket.remove(name)
    return checks


async def _read(link: str, content: bytes, web: WebTransport) -> list[Check]:
    step = "bucket: read from outside"
    answer = await web.ask("GET", link)
    if answer.status != 200 or answer.body != content:
        advice = "Check the bucket's endpoint and region: miners read by such links."
        return [Check(step, PROBLEM, f"the link does not return the object ({answer.status})", advice)]
    address = Link.parse(link)
    checks = [Check(step, OK, "the link returns the object, without credentials")]
    with suppress(OSError):
        if await is_local(address):
            text = f"the link works here, but {address.host} is in a private network"
            checks = [Check(step, WARNING, text, "Miners elsewhere cannot read it. Those in the same network can.")]
    bare = await web.ask("GET", link.partition("?")[0])
    if bare.status == 200:
        advice = "Take away the public's right to read it: the links are enough for the miners."
        checks.append(Check("bucket: private", WARNING, "anybody can read the bucket without a link", advice))
    else:
        checks.append(Check("bucket: private", OK, "without a link nothing can be read"))
    return checks
