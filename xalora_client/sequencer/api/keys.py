"""Who is let in: keys of consumers and of miners, and what happens to those who guess."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ...protocol.miner import read_name
from ...protocol.parameters import Text
from ...protocol.requests import Credentials
from ..options import miner_key
from .errors import HTTPError

_TEXT = Text("")


class ConsumerKeys:
    """The consumers that are let in. None of them means that every key is accepted."""

    def __init__(self, accepted: Sequence[Credentials] = ()) -> None:
        self.accepted = tuple(accepted)

    def consumer_and_key(self, body: Mapping[str, Any]) -> tuple[str, str]:
        """The consumer and the key of a request, which must belong together. Raises HTTPError 401."""
        consumer_id, api_key = body.get("consumer_id"), self.key(body)
        if not isinstance(consumer_id, str) or not _TEXT.accepts(consumer_id):
            raise HTTPError(401, "consumer_id is missing")
        known = [_same(consumer_id, other.consumer_id) & _same(api_key, other.api_key) for other in self.accepted]
        if known and not any(known):
            raise HTTPError(401, "this consumer_id and api_key are not known here")
        return consumer_id, api_key

    def key(self, body: Mapping[str, Any]) -> str:
        """The key of a request. Raises HTTPError 401."""
        api_key = body.get("api_key")
        if not isinstance(api_key, str) or not _TEXT.accepts(api_key):
            raise HTTPError(401, "api_key is missing")
        known = [_same(api_key, other.api_key) for other in self.accepted]
        if known and not any(known):
            raise HTTPError(401, "this api_key is not known here")
        return api_key


class MinerKeys:
    """The keys of miners, as ``KEY``, which is good for every name, or ``NAME=KEY``. None of them lets everybody in."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = [miner_key(text) for text in keys]

    def name(self, body: Mapping[str, Any], field: str = "erc20_address") -> str:
        """The miner's name in a field of its request. Raises HTTPError 401, unless its key is good for that name."""
        given, name = body.get("miner_key"), body.get(field)
        if self._keys:
            text = given if isinstance(given, str) and _TEXT.accepts(given) else ""
            good = [_same(text, key) and owner in (None, name) for owner, key in self._keys]
            if not any(good):
                raise HTTPError(
                    401, "the miner_key is missing or not the one that this sequencer expects; set XALORA_MINER_KEY"
                )
        return read_name(body, field)


def check_token(request: web.Request, token: str | None) -> None:
    """Raise HTTPError 401 unless a request has the token, as ``?token=`` or ``Authorization: Bearer``."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else request.query.get("token", "")
    if token is not None and not _same(given, token):
        raise HTTPError(401, "this needs the token that `xalora sequencer` prints at its start, as ?token=…")


def _same(given: str, required: str) -> bool:
    """Compare without telling by the time it takes how much was right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), required.encode("utf-8", "surrogatepass"))


@dataclass
class _Guesses:
    """The wrong keys of one address: how many lately, when the last one came, and when the next answer is due."""

    count: float = 0.0
    last: float = 0.0
    due: float = 0.0


class WrongKeys:
    """Holds back the answers to wrong keys, for each address one after the other. Right ones do not wait for them."""

    FREE = 10
    """So many wrong keys a minute are answered at once: a person may mistype, and a restarted miner tries again."""

    BETWEEN = 0.25
    LONGEST = 30.0
    MOST_ADDRESSES = 10_000

    def __init__(self) -> None:
        self._by_address: OrderedDict[str, _Guesses] = OrderedDict()

    async def slow(self, address: str) -> None:
        """Hold back the answer to a wrong key."""
        guesses = self._by_address.setdefault(address, _Guesses())
        self._by_address.move_to_end(address)
        while len(self._by_address) > self.MOST_ADDRESSES:
            self._by_address.popitem(last=False)
        now = time.monotonic()
        guesses.count = max(0.0, guesses.count - (now - guesses.last) * self.FREE / 60) + 1
        guesses.last = now
        if guesses.count > self.FREE:
            guesses.due = min(max(guesses.due, now) + self.BETWEEN, now + self.LONGEST)
            await asyncio.sleep(guesses.due - now)
