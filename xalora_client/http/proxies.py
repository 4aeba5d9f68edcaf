"""How a server is reached: the user's proxies and certificates."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import certifi

from ..errors import ConfigurationError, NetworkError
from ..protocol.urls import Link
from .ssrf import is_loopback

SYSTEM_BUNDLES = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
]
"""Where Linux systems keep the authorities that they trust. A Python from elsewhere, like Conda's, looks in its own."""


def proxy_for(link: Link) -> Link | None:
    """The proxy to use, or None, as for this machine. Raises NetworkError for a proxy that cannot be used."""
    proxies = getproxies()
    address = proxies.get(link.scheme) or proxies.get("all")
    if not address or _goes_direct(link, proxies.get("no", "")):
        return None
    try:
        return Link.parse(address if "://" in address else f"http://{address}")
    except ValueError as error:
        what = f"No connection to {link.display_url}: its proxy setting cannot be used ({error})"
        raise NetworkError(what, sent="no", transient=False, code="proxy") from None


def _goes_direct(link: Link, exempt: str) -> bool:
    if is_loopback(link.host) or proxy_bypass(f"{link.url_host}:{link.port}"):
        return True
    with suppress(ValueError):
        address = ip_address(link.host)
        for part in exempt.split(","):  # The standard library supports names here, but not networks.
            with suppress(ValueError):
                if address in ip_network(part.strip().strip("[]"), strict=False):
                    return True
    return False


def ssl_context() -> ssl.SSLContext:
    """A context that trusts the environment's certificates, else the system's and certifi's.

    Raises ConfigurationError.
    """
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    trusted = next(filter(None, map(os.environ.get, names)), None)
    try:
        if trusted and Path(trusted).is_dir():
            return ssl.create_default_context(capath=trusted)
        if trusted:
            return ssl.create_default_context(cafile=trusted)
    except OSError as error:
        raise ConfigurationError(
            f"The certificates in {trusted} cannot be read: {error.strerror}",
            advice="Correct REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE or SSL_CERT_DIR, or unset it.",
        ) from error
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    for bundle in SYSTEM_BUNDLES:
        with suppress(OSError):  # Most are not there, and a damaged one is not asked for.
            context.load_verify_locations(bundle)
    return context
