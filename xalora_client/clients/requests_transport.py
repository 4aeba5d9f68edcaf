"""The transport over requests."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import requests
from urllib3 import Timeout
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, ProxyError
from urllib3.exceptions import SSLError as HandshakeError

from ..engine.effects import Fetch
from ..errors import NetworkError, RequestTimeoutError
from ..protocol.requests import Request, Response
from .environment import (
    CERTIFICATE_ADVICE,
    CHUNK,
    CONNECT_TIMEOUT,
    FETCH_HEADERS,
    LONGEST_ERROR_PAGE,
    SEND_HEADERS,
    answer,
    certificate_authorities,
    proxy_for,
    ssl_context,
    unsigned,
)


class RequestsTransport:
    """Keeps one connection pool; closed with ``close``."""

    def __init__(self) -> None:
        self._session = _Session()
        # The environment is read by our own code, alike for both transports; requests would add ~/.netrc logins.
        self._session.trust_env = False
        self._trusted: str | None = None

    def _authorities(self, url: str) -> str | None:
        """What a server's certificate is checked against; looked at once, at the first request that needs it."""
        if self._trusted is None and url.lower().startswith("https:"):
            ssl_context()  # Says which file cannot be read, which requests does not.
            self._trusted = certificate_authorities()
        return self._trusted

    def send(self, request: Request, timeout: float) -> Response:
        """POST the request, without following redirects: they would carry the key to another host."""
        authorities = self._authorities(request.url)
        with _network_errors(request.url):
            response = self._session.post(
                request.url,
                data=request.content(),
                headers=SEND_HEADERS,
                # requests hands urllib3's own Timeout on; only that bounds connecting and answering together.
                timeout=Timeout(connect=min(timeout, CONNECT_TIMEOUT), total=timeout),  # type: ignore[arg-type]
                allow_redirects=False,
                proxies=_proxies(request.url),
                verify=authorities,
            )
        return answer(response.status_code, response.headers.items(), response.content)

    def fetch(self, fetch: Fetch) -> Response:
        """GET a file into its sink. What the sink raises goes through unchanged."""
        authorities = self._authorities(fetch.url)
        with _network_errors(fetch.url):
            response = self._session.get(
                fetch.url,
                headers=FETCH_HEADERS | dict(fetch.headers),
                timeout=(CONNECT_TIMEOUT, fetch.timeout),
                allow_redirects=False,
                proxies=_proxies(fetch.url),
                verify=authorities,
                stream=True,
            )
        with response:
            head = answer(response.status_code, response.headers.items(), b"")
            take = fetch.sink(head.status, head.headers)
            chunks = response.iter_content(CHUNK if take else LONGEST_ERROR_PAGE)
            while chunk := _next_chunk(chunks, fetch.url):
                if take is None:
                    return replace(head, body=chunk)
                take(chunk)
            return head

    def close(self) -> None:
        """Let the connections go."""
        self._session.close()


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Know of no redirects: requests reads the whole body and parses the address even where it follows none."""


def _next_chunk(chunks: Iterator[bytes], url: str) -> bytes:
    with _network_errors(url):
        return next(chunks, b"")


def _proxies(url: str) -> dict[str, str]:
    proxy = proxy_for(url)
    return {"http": proxy, "https": proxy} if proxy else {}


@contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Turn what requests raises into our errors, telling whether the request can have reached the server."""
    shown = unsigned(url, url)
    try:
        yield
    except requests.exceptions.ConnectTimeout as error:
        raise RequestTimeoutError(f"No connection to {shown} in time", never_sent=True) from error
    except requests.exceptions.Timeout as error:
        raise RequestTimeoutError(f"No answer from {shown} in time") from error
    except requests.exceptions.SSLError as error:
        untrusted = _is_untrusted(error)
        raise NetworkError(
            f"No secure connection to {shown}: {unsigned(_reason(error), url)}",
            never_sent=untrusted or _never_connected(error),
            lasting=untrusted,
            advice=CERTIFICATE_ADVICE,
        ) from error
    except (requests.exceptions.RequestException, HTTPError, ValueError) as error:
        # ValueError: a host name that cannot be encoded gets through to the socket module.
        raise NetworkError(
            f"No answer from {shown}: {unsigned(_reason(error), url)}", never_sent=_never_connected(error)
        ) from error


def _reason(error: Exception) -> object:
    """What is behind requests' own words, which show the whole address."""
    inner = error.args[0] if error.args else error
    return inner.reason if isinstance(inner, MaxRetryError) else error


def _never_connected(error: Exception) -> bool:
    reason = _reason(error)
    if isinstance(reason, ProxyError):
        # A proxy that was reached and then dropped the connection may have passed the request on: only one that was
        # not reached, or refused the tunnel, certainly did not.
        cause = reason.original_error
        return isinstance(cause, NewConnectionError) or str(cause).startswith("Tunnel connection failed")
    return isinstance(reason, NewConnectionError)


def _is_untrusted(error: Exception) -> bool:
    """Whether the server's certificate was refused, which comes before anything is sent."""
    reason = _reason(error)
    cause = reason.args[0] if isinstance(reason, HandshakeError) and reason.args else None
    return isinstance(cause, ssl.SSLCertVerificationError)
