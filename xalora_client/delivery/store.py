"""The obstore store of a bucket: obstore finds the credentials and signs, this finds what it does not look for."""

from __future__ import annotations

import base64
import configparser
import hashlib
import hmac
import os
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from ..errors import ConfigurationError, StorageError
from .refusals import CREDENTIALS_ADVICE

INSTALL_ADVICE = 'Install it with `pip install "xalora-nodes[bucket]"`, in ComfyUI with ComfyUI\'s own Python.'


def open_store(place: str, options: Mapping[str, str], region: str | None = None) -> Any:
    """The store of ``s3://name/prefix``, ``gs://…`` or ``az://…``.

    ``options`` are credentials and endpoint by obstore's names; what is not there comes from the provider's variables
    and files. Raises ConfigurationError without obstore, or when obstore does not accept the options, and StorageError
    when it has not what it needs.
    """
    try:
        exceptions: Any = import_module("obstore.exceptions")
        stores: Any = import_module("obstore.store")
    except ImportError as error:
        raise ConfigurationError("A bucket needs the package obstore", advice=INSTALL_ADVICE) from error
    scheme = place.partition(":")[0]
    config: dict[str, Any] = dict(options)
    more: dict[str, Any] = {}
    if scheme == "s3":
        if {"access_key_id", "secret_access_key"} <= options.keys():
            # Stored together: the token and region of other keys, which obstore takes from variables, do not fit.
            config = {"region": "us-east-1"} | config
            more = {"credential_provider": partial(_stored_keys, options)}
        else:
            config = _from_aws_files(config) | config
        if region:
            config.pop("default_region", None)
            config["region"] = region
    try:
        return stores.from_url(
            place,
            config=config,
            **more,
            client_options={"allow_http": True, "connect_timeout": timedelta(seconds=5)},
            # Only for its search for credentials, and for lists: the rest goes another way.
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=15)},
        )
    except exceptions.UnknownConfigurationKeyError:
        raise ConfigurationError(
            f"The stored settings of the bucket {place} have names that obstore does not know",
            advice="Store them again with `xalora login --bucket`.",
        ) from None
    except exceptions.BaseError:  # Its text may hold what it was given.
        raise StorageError(
            f"The settings of the bucket {place} are not complete", advice=CREDENTIALS_ADVICE[scheme]
        ) from None


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
        said = "\n".join([*first, f"/blob/{account}{path}", "", "", "", *last])
        return base64.b64encode(hmac.new(base64.b64decode(key), said.encode(), hashlib.sha256).digest()).decode()

    try:
        # Other credentials, such as a token of the user's, sign in another way.
        if query["sig"] != signature():
            return signed
    except (KeyError, ValueError):
        return signed
    del query["st"]
    query["sig"] = signature()
    return f"{link.scheme}://{link.netloc}{link.path}?{urlencode(query)}"


def _stored_keys(options: Mapping[str, str]) -> dict[str, Any]:
    found = {"access_key_id": options["access_key_id"], "secret_access_key": options["secret_access_key"]}
    token = {"token": options["session_token"]} if "session_token" in options else {}
    return found | token | {"expires_at": None}


def _from_aws_files(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys, region and endpoint of the profile in ``~/.aws``, as far as no variable sets them."""
    has_keys = "access_key_id" in config or "AWS_ACCESS_KEY_ID" in os.environ
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    keys = _section("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", profile)
    more = _section("AWS_CONFIG_FILE", "~/.aws/config", profile if profile == "default" else f"profile {profile}")
    both = more | keys
    found: dict[str, str] = {}
    if not has_keys and "aws_access_key_id" in both and "aws_secret_access_key" in both:
        found = {"access_key_id": both["aws_access_key_id"], "secret_access_key": both["aws_secret_access_key"]}
        if "aws_session_token" in both:
            found["session_token"] = both["aws_session_token"]
    if "region" in both and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & set(os.environ):
        found["region"] = both["region"]
    if "endpoint_url" in both and not {"AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} & set(os.environ):
        found["endpoint"] = both["endpoint_url"]
    return found


def _section(variable: str, default: str, name: str) -> dict[str, str]:
    path = Path(os.environ.get(variable) or default).expanduser()
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error):
        return {}
    return dict(parser[name]) if parser.has_section(name) else {}
