"""The transport over requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import requests
from urllib3 import Timeout
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError

from ..effects import Fetch
from ..errors import NetworkError, RequestTimeoutError
from ..wire import Request, Response
from .environment import (
    CHUNK,
    CONNECT_TIMEOUT,
    FETCH_HEADERS,
    LONGEST_ERROR_PAGE,
    SEND_HEADERS,
    answer,
    certificate_authorities,
    proxy_for,
)


class RequestsTransport:
    """Keeps one connection pool; closed with ``close``."""

    def __init__(self) -> None:
        self._session = requests.Session()
        # The environment is read by our own code, alike for both transports; requests would add ~/.netrc logins.
        self._session.trust_env = False
        self._session.verify = certificate_authorities()

    def send(self, request: Request, timeout: float) -> Response:
        """POST the request, without following redirects: they would carry the key to another host."""
        with _network_errors(request.url):
            response = self._session.post(
                request.url,
                data=request.content(),
                headers=SEND_HEADERS,
                # requests hands urllib3's own Timeout on; only that bounds connecting and answering together.
                timeout=Timeout(connect=min(timeout, CONNECT_TIMEOUT), total=timeout),  # type: ignore[arg-type]
                allow_redirects=False,
                proxies=_proxies(request.url),
            )
        return answer(response.status_code, response.headers.items(), response.content)

    def fetch(self, fetch: Fetch) -> Response:
        """GET a file into its sink. What the sink raises goes through unchanged."""
        with _network_errors(fetch.url):
            response = self._session.get(
                fetch.url,
                headers=FETCH_HEADERS | dict(fetch.headers),
                timeout=(CONNECT_TIMEOUT, fetch.timeout),
                allow_redirects=False,
                proxies=_proxies(fetch.url),
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


def _next_chunk(chunks: Iterator[bytes], url: str) -> bytes:
    with _network_errors(url):
        return next(chunks, b"")


def _proxies(url: str) -> dict[str, str]:
    proxy = proxy_for(url)
    return {"http": proxy, "https": proxy} if proxy else {}


@contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Turn what requests raises into our errors, telling whether the request can have reached the server."""
    try:
        yield
    except requests.exceptions.ConnectTimeout as error:
        raise RequestTimeoutError(f"No connection to {url} in time", never_sent=True) from error
    except requests.exceptions.Timeout as error:
        raise RequestTimeoutError(f"No answer from {url} in time") from error
    except requests.exceptions.SSLError as error:
        raise NetworkError(
            f"No secure connection to {url}: {error}",
            never_sent=_never_connected(error),
            advice="If a proxy or company certificate is in use, set REQUESTS_CA_BUNDLE to its file.",
        ) from error
    except (requests.exceptions.RequestException, HTTPError, ValueError) as error:
        # ValueError: a host name that cannot be encoded gets through to the socket module.
        raise NetworkError(f"No answer from {url}: {error}", never_sent=_never_connected(error)) from error


def _never_connected(error: Exception) -> bool:
    if isinstance(error, requests.exceptions.ProxyError):
        return True  # The tunnel was refused before the request went in.
    reason = error.args[0] if error.args else None
    return isinstance(reason, MaxRetryError) and isinstance(reason.reason, NewConnectionError)
