"""The obstore store of a bucket. obstore finds credentials and signs; this finds those that it does not look for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from ..errors import ConfigurationError, StorageError
from ..http.ssrf import is_forbidden_name
from ..protocol.requests import pasted
from ..protocol.urls import Link
from .bucket_errors import no_credentials

logger = logging.getLogger("xalora_client")

ASK_AGAIN = timedelta(minutes=10)
"""The lifetime that obstore sees of credentials that botocore renews: it asks for new ones before that ends."""

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_KEYS = {"access_key_id", "secret_access_key", "session_token", "token"}


def open_store(bucket_url: str, options: Mapping[str, str], region: str | None = None) -> Any:
    """The store of ``s3://name/prefix``, ``gs://…`` or ``az://…``.

    ``options`` are credentials and endpoint by obstore's names; what is not there comes from the provider's usual
    places. Raises ConfigurationError without obstore, or when obstore does not accept the options, and StorageError
    when some of them are missing.
    """
    try:
        exceptions: Any = import_module("obstore.exceptions")
        stores: Any = import_module("obstore.store")
    except ImportError as error:
        raise ConfigurationError("A bucket needs the package obstore", code="bucket_package") from error
    scheme = bucket_url.partition(":")[0]
    config: dict[str, Any] = dict(options)
    more: dict[str, Any] = {}
    if scheme == "s3":
        config = {name.removeprefix("aws_"): value for name, value in options.items()}
        if _KEYS & config.keys():
            # Stored together: the token and region of other keys, which obstore takes from variables, do not fit.
            more = {"credential_provider": _stored_keys(config, bucket_url)}
            config = {"region": "us-east-1"} | config
        elif not os.environ.get("AWS_ACCESS_KEY_ID") or _has_profiles():
            config, more = _from_aws_tools(config, bucket_url)
        if region:
            config.pop("default_region", None)
            config["region"] = region
        for place, name in [(config, "endpoint"), *((os.environ, name) for name in _ENDPOINTS)]:
            if written := place.get(name):  # In its place, because obstore prefers AWS_ENDPOINT_URL_S3 to a config.
                place[name] = _endpoint(written)
    elif scheme == "az":
        config = _from_azure_variables(options) | config
    try:
        return stores.from_url(
            bucket_url,
            config=config,
            **more,
            client_options={"allow_http": True, "connect_timeout": timedelta(seconds=5)},
            # Only for its search for credentials, and for lists.
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=15)},
        )
    except exceptions.UnknownConfigurationKeyError:
        raise ConfigurationError(
            f"The stored settings of the bucket {bucket_url} have names that obstore does not know",
            code="bucket_stored",
        ) from None
    except exceptions.BaseError:  # Its text may hold what it was given.
        raise no_credentials(f"The settings of the bucket {bucket_url} are not complete", bucket_url) from None


def valid_before_now(signed: str, store: Any) -> str:
    """A link that obstore signed with an Azure account's key, signed again without the time at which it begins.

    obstore lets it begin now by this machine's clock. Where that is a few seconds ahead, Azure refuses the link.
    """
    link = urlsplit(signed)
    query = dict(parse_qsl(link.query))
    variables = (os.environ.get(f"AZURE_STORAGE_{name}_KEY") for name in ("ACCOUNT", "ACCESS", "MASTER"))
    key = store.config.get("account_key") or next(filter(None, variables), "")
    account = store.config.get("account_name") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    path = unquote(link.path)
    if not (link.hostname or "").startswith(f"{account}."):  # An emulator has the account's name in its path.
        path = path.removeprefix(f"/{account}")

    def signature() -> str:
        first = (query.get(name, "") for name in ("sp", "st", "se"))
        last = (query["sv"], query["sr"], *[""] * 7)
        text = "\n".join([*first, f"/blob/{account}{path}", "", "", "", *last])
        return base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()

    try:
        # Other credentials, such as a token of the user's, sign in another way.
        if query["sig"] != signature():
            return signed
    except (KeyError, ValueError):
        return signed
    del query["st"]
    query["sig"] = signature()
    return f"{link.scheme}://{link.netloc}{link.path}?{urlencode(query)}"


def _stored_keys(config: Mapping[str, str], bucket_url: str) -> Callable[[], dict[str, Any]]:
    found: dict[str, Any] = {name: config.get(name) for name in ("access_key_id", "secret_access_key")}
    if not all(found.values()):
        raise StorageError(f"The stored credentials of the bucket {bucket_url} are not complete", code="bucket_stored")
    token = config.get("session_token") or config.get("token")
    return lambda: found | ({"token": token} if token else {}) | {"expires_at": None}


def _endpoint(written: str) -> str:
    """The address of a storage service with its scheme. Raises ConfigurationError for what is no address."""
    text = pasted(written)
    if not text:
        return written
    try:
        link = Link.parse(text if "://" in text else f"https://{text}")
    except ValueError as error:
        raise ConfigurationError(
            f"The bucket's endpoint cannot be used: {error}", advice="Write AWS_ENDPOINT_URL like https://host:port."
        ) from None
    if "://" not in text:  # Storage in one's own network rarely has a certificate.
        return f"http://{text}" if is_forbidden_name(link.host, local=False) else f"https://{text}"
    return text


def _has_profiles() -> bool:
    """Whether Amazon's tools have a file here. Without one, their library need not be loaded, which takes long."""
    files = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
    # Path.expanduser raises for a user without a home folder.
    return any(Path(os.path.expanduser(os.environ.get(name) or usual)).is_file() for name, usual in files.items())  # noqa: PTH111


def _from_aws_tools(config: dict[str, Any], bucket_url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Amazon's own library finds: profiles, their roles, SSO and programs, and a machine's role.

    Returns the config with region and endpoint, and the credentials as obstore takes them. With a key in the
    environment, nothing of this is needed.
    """
    has_key = bool(os.environ.get("AWS_ACCESS_KEY_ID"))
    if find_spec("botocore") is None:
        if has_key:
            return config, {}
        raise ConfigurationError(
            f"The bucket {bucket_url} has no AWS_ACCESS_KEY_ID, and to look elsewhere needs the package botocore",
            code="bucket_package",
        )
    try:
        session: Any = import_module("botocore.session").Session()
        config = _from_profile(session.get_scoped_config()) | config
        credentials = None if has_key else session.get_credentials()
        now = None if credentials is None else _current(credentials)
    except Exception as error:  # noqa: BLE001 - also what a program of the user's says. Its text may hold a secret.
        if has_key:
            return config, {}
        raise StorageError(
            f"The credentials for the bucket {bucket_url} could not be loaded ({type(error).__name__})",
            code="bucket_profile",
        ) from None
    if now is None:
        return config, {}
    if now["token"]:
        logger.warning("The credentials for the bucket %s are temporary: links to images end with them", bucket_url)
    return config, {"credential_provider": partial(_current, credentials)}


def _from_profile(profile: Mapping[str, str]) -> dict[str, Any]:
    """The region and endpoint of a profile, where no variable sets them."""
    found: dict[str, Any] = {}
    if "region" in profile and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & set(os.environ):
        found["region"] = profile["region"]
    ignored = profile.get("ignore_configured_endpoint_urls", "").lower() == "true"
    is_set = set(_ENDPOINTS) & set(os.environ)
    if "endpoint_url" in profile and not ignored and not is_set:
        found["endpoint"] = profile["endpoint_url"]
    return found


def _current(credentials: Any) -> dict[str, Any]:
    """The credentials as they are now. botocore renews them before they expire."""
    now = credentials.get_frozen_credentials()
    return {
        "access_key_id": now.access_key,
        "secret_access_key": now.secret_key,
        "token": now.token,
        "expires_at": datetime.now(timezone.utc) + ASK_AGAIN,
    }


def _from_azure_variables(config: Mapping[str, str]) -> dict[str, str]:
    """Account, key and endpoint in the variables of Azure's own tools, which obstore does not read."""
    names = ("ACCOUNT_NAME", "ACCOUNT_KEY", "ACCESS_KEY", "MASTER_KEY", "CLIENT_ID")
    is_set = any(os.environ.get(f"AZURE_STORAGE_{name}") for name in names) or os.environ.get("AZURE_CLIENT_ID")
    if is_set or {"account_name", "account_key"} & config.keys():
        return {}
    parts = (part.partition("=") for part in os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";"))
    stated = {name.strip(): value.strip() for name, _, value in parts}
    account, key = stated.get("AccountName"), stated.get("AccountKey")
    if account and key:
        protocol = stated.get("DefaultEndpointsProtocol") or "https"
        suffix = stated.get("EndpointSuffix") or "core.windows.net"
        endpoint = stated.get("BlobEndpoint") or f"{protocol}://{account}.blob.{suffix}"
        return {"account_name": account, "account_key": key, "endpoint": endpoint}
    variables = {"account_name": "AZURE_STORAGE_ACCOUNT", "account_key": "AZURE_STORAGE_KEY"}
    return {ours: os.environ[theirs] for ours, theirs in variables.items() if os.environ.get(theirs)}
