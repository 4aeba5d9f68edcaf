"""Addresses, without I/O: how they are read and shown without secrets, and the links that storage services sign.

Whoever has a signed link may read its file for some time. S3, Google and Azure put the signature into the query.
"""

from __future__ import annotations

import re
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote, unquote_plus, unquote_to_bytes

_DEFAULT_PORTS = {"http": 80, "https": 443}
LONGEST_SHOWN = 200


class NumberHostError(ValueError):
    """An address's host is a number that is no plain IPv4 address."""

    def __init__(self) -> None:
        super().__init__(
            "the address's host is a number, which may lead into a private network; write it like 192.0.2.1"
        )


@dataclass(frozen=True)
class Link:
    """An http or https address.

    ``host`` is what is connected to: ASCII, in lower case, an IPv6 address without brackets, or the IPv4 address in it.
    ``target`` is the path and query as they are sent. ``login`` is the address's own ``user:password``, as written.
    """

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)
    login: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Link:
        """Read an absolute address. Non-ASCII characters and spaces in it are percent-encoded, nothing else changes.

        Raises ValueError, without the address in its text, for what cannot be connected to; NumberHostError for a host
        that libraries may take for another one.
        """
        match = re.fullmatch(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", text.strip(), re.IGNORECASE | re.DOTALL)
        if match is None or re.search(r"[\x00-\x1f\x7f]", match[0]):
            raise ValueError("this is not an http address")
        login, at, authority = match[2].rpartition("@")
        if re.match(r"\[[0-9A-Fa-f:.]+%", authority):
            raise ValueError(
                "an IPv6 address with a zone (%) means another machine on each; write one without, or a name"
            )
        parts = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{0,5}))?", authority)
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
        if is_number(host) and not parts[1].startswith("["):
            try:
                IPv4Address(parts[1])
            except ValueError:
                raise NumberHostError from None
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
    def url_host(self) -> str:
        """The host as it stands in an address: an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

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
        if self.login is None:
            return None
        user, _, password = self.login.partition(":")
        return "Basic " + b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password)).decode()

    def _prefix(self, login: str | None) -> str:
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{login + '@' if login is not None else ''}{self.url_host}{port}"


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
        address = IPv6Address(name[1:-1])
        return str(address.ipv4_mapped or address.compressed)
    name = unquote(name, errors="strict")
    if not name.isascii():
        from yarl import URL  # Here, because it would slow down every start of ComfyUI.

        name = URL.build(scheme="http", host=name).raw_host or ""
    name = name.lower()
    bare = name.removesuffix(".")
    if len(bare) > 253 or not all(re.fullmatch(r"[a-z0-9_-]{1,63}", label) for label in bare.split(".")):
        raise ValueError
    return name


def is_number(host: str) -> bool:
    """Whether libraries may read a host as an IPv4 address, each in its own way: its last part is a number.

    Such are "127.1", "0177.1", "0x7f.1" and "2130706433". Only four plain numbers mean the same to all.
    """
    last = host.lower().rstrip(".").rpartition(".")[2]
    return ":" not in host and re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last) is not None


_AZURE = {"sv", "ss", "sr", "srt", "sp", "st", "se", "sip", "spr", "sig", "skoid", "sktid", "skt", "ske", "sks", "skv"}
_OLD_STYLE = {"awsaccesskeyid", "googleaccessid", "key-pair-id", "policy", "signature", "expires"}

# Also percent-encoded within another link, or without its host, as HTTP libraries write it into their errors.
_QUERY = re.compile(r"""(?:\?|%3f)[^\s"'<>]*""", re.IGNORECASE)
_SIGNATURE = re.compile(r"x-(?:amz|goog)-sig|(?<![a-z])sig(?:nature)?(?:=|%3d)", re.IGNORECASE)


def unsigned(text: str) -> str:
    """The link without its signature, which is a secret as long as it is valid. Any other text stays as it is."""
    values = _values(text)
    if not any(name.startswith(("x-amz-sig", "x-goog-sig")) or name in ("sig", "signature") for name in values):
        return text
    head, _, query = text.partition("?")
    query, hash_mark, fragment = query.partition("#")
    kept = [part for part in query.split("&") if not _belongs(part.partition("=")[0].lower())]
    return head + (f"?{'&'.join(kept)}" if kept else "") + hash_mark + fragment


def without_signatures(text: str) -> str:
    """A text to show, without the query of each signed link in it."""
    return _QUERY.sub(lambda query: "" if _SIGNATURE.search(query[0]) else query[0], text)


def expiry(text: str) -> datetime | None:
    """When a signed link ends, in UTC; None for a link that does not say so, and for any other text."""
    values = _values(text)
    with suppress(ValueError, OverflowError):
        for vendor in ("x-amz", "x-goog"):
            if f"{vendor}-signature" in values and f"{vendor}-expires" in values:
                signed = datetime.strptime(values[f"{vendor}-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
                return signed + timedelta(seconds=int(values[f"{vendor}-expires"]))
        if "sig" in values and "se" in values:
            expires = datetime.fromisoformat(values["se"].replace("Z", "+00:00"))
            return expires if expires.tzinfo else expires.replace(tzinfo=timezone.utc)
        if "signature" in values and values.get("expires", "").isdigit():
            return datetime.fromtimestamp(int(values["expires"]), timezone.utc)
    return None


def _values(link: str) -> dict[str, str]:
    """The parameters of a link's query by name in lower case; none for any other text."""
    head, _, query = link.partition("?")
    if not head[:8].lower().startswith(("http://", "https://")):
        return {}
    pairs = (part.partition("=") for part in query.partition("#")[0].split("&"))
    return {name.lower(): unquote_plus(value) for name, _, value in pairs}


def _belongs(name: str) -> bool:
    return bool(re.match(r"x-(amz|goog)-", name)) or name in _AZURE or name in _OLD_STYLE
