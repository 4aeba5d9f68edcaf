"""How images would reach the miners, and the bucket step by step: write, link, read from outside, remove."""

from __future__ import annotations

import secrets
from contextlib import suppress

from ..config import Config
from ..config.validation import AUTO, BY_BUCKET, BY_DATA_URI, BY_SEQUENCER, is_public
from ..errors import ConfigurationError, XaloraError
from ..http.ssrf import is_local
from ..http.upload import WebTransport
from ..protocol.urls import Link
from ..uploads import Bucket
from ..uploads.uploads import folder_of
from .check import OK, PROBLEM, WARNING, Check, failed

NAME = "images to the miners"


async def check_images(settings: Config, web: WebTransport, *, takes_images: bool | None) -> list[Check]:
    """Which way images go, and for a bucket whether it works. ``takes_images`` is None for a server not reached."""
    wish, bucket = settings.image_delivery, settings.bucket
    if wish == BY_BUCKET and not bucket:
        return [_no_way("by a bucket, and no bucket is set", PROBLEM)]
    if bucket and wish in (AUTO, BY_BUCKET):
        return [Check(NAME, OK, f"by the bucket {bucket}"), *await _check_bucket(settings, bucket, web)]
    if wish in (AUTO, BY_SEQUENCER) and takes_images:
        return [Check(NAME, OK, "by an upload to the sequencer")]
    if takes_images is None and (wish == BY_SEQUENCER or (wish == AUTO and not is_public(settings.workflow_url))):
        return [Check(NAME, WARNING, "not known before the sequencer answers", "See what is said about the server.")]
    if wish == BY_SEQUENCER:
        return [_no_way("by an upload, and the sequencer takes none", PROBLEM)]
    if is_public(settings.workflow_url):
        text = "no way: miners of the public network fetch images by http or https, so Upscale takes only addresses"
        return [_no_way(text, PROBLEM if wish == BY_DATA_URI else WARNING)]
    return [Check(NAME, OK, "inside the task itself, up to 32 MB each")]


def _no_way(text: str, status: str) -> Check:
    return failed(NAME, ConfigurationError(text, code="no_bucket"), status)


async def _check_bucket(settings: Config, url: str, web: WebTransport) -> list[Check]:
    bucket = Bucket(url, settings.bucket_options, web)
    name, content = f"{folder_of(settings.home)}/doctor-{secrets.token_hex(8)}.txt", secrets.token_bytes(32)
    done: list[Check] = []
    step = "bucket: write"
    try:
        await bucket.put(name, content, "text/plain")
        done.append(Check(step, OK, "an object was stored"))
        step = "bucket: link"
        link = await bucket.link(name, 300)
        done.append(Check(step, OK, "a link was signed"))
        step = "bucket: read from outside"
        done += await _read(link, content, web)
        step = "bucket: remove"
        await bucket.remove(name)
        done.append(Check(step, OK, "the object was removed"))
    except XaloraError as error:
        done.append(failed(step, error))
        if done[0].status == OK and step != "bucket: remove":
            with suppress(XaloraError):
                await bucket.remove(name)
    return done


async def _read(link: str, content: bytes, web: WebTransport) -> list[Check]:
    step = "bucket: read from outside"
    answer = await web.ask("GET", link)
    if answer.status != 200 or answer.body != content:
        advice = "Check the bucket's endpoint and region: miners read by such links."
        return [Check(step, PROBLEM, f"the link does not give the object ({answer.status})", advice)]
    address = Link.parse(link)
    checks = [Check(step, OK, "the link gives the object, without credentials")]
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
