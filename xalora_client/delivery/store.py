"""The obstore store of a bucket: obstore finds the credentials and signs, this finds what it does not look for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from ..errors import ConfigurationError, StorageError
from .refusals import CREDENTIALS_ADVICE

INSTALL_ADVICE = 'Install it with `pip install "xalora-nodes[bucket]"`, in ComfyUI with ComfyUI\'s own Python.'


ASK_AGAIN = timedelta(minutes=5)
"""How long obstore keeps credentials that may be renewed."""


def open_store(place: str, options: Mapping[str, str], region: str | None = None) -> Any:
    """The store of ``s3://name/prefix``, ``gs://…`` or ``az://…``.

    ``options`` are credentials and endpoint by obstore's names; what is not there comes from the provider's usual
    places. Raises ConfigurationError without obstore, or when obstore does not accept the options, and StorageError
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
            config, more = _from_aws_chain(config, place)
        if region:
            config.pop("default_region", None)
            config["region"] = region
    elif scheme == "az":
        config = _from_azure_variables(options) | config
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


def _from_aws_chain(config: dict[str, Any], place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Amazon's own library finds: profiles, their roles, SSO and processes, variables, and a machine's role.

    Returns the config with region and endpoint, and the credentials as obstore takes them. Without the library, and
    where it finds no credentials, obstore looks in variables and asks the machine's role.
    """
    if find_spec("botocore") is None:
        return config, {}
    session: Any = import_module("botocore.session").Session()
    errors: Any = import_module("botocore.exceptions")
    found: dict[str, Any] = {}
    try:
        profile = session.get_scoped_config()
        if region := os.environ.get("AWS_REGION") or session.get_config_variable("region"):
            found["region"] = region
        if "endpoint_url" in profile and not {"AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} & set(
            os.environ
        ):
            found["endpoint"] = profile["endpoint_url"]
        credentials = session.get_credentials()
        if credentials is None:
            return found | config, {}
        _current(credentials)
    except (errors.BotoCoreError, errors.ClientError, OSError, ValueError) as error:  # Its text may hold a secret.
        raise StorageError(
            f"The credentials for the bucket {place} cannot be had ({type(error).__name__})",
            advice="No task was created. Check AWS_PROFILE and the profile in ~/.aws/config; after a login by SSO has "
            f"ended, run `aws sso login`. {CREDENTIALS_ADVICE['s3']}",
        ) from None
    return found | config, {"credential_provider": partial(_current, credentials)}


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
    named = {f"AZURE_STORAGE_{name}_KEY" for name in ("ACCOUNT", "ACCESS", "MASTER")} & set(os.environ)
    if named or {"account_name", "account_key"} & config.keys():
        return {}
    parts = (each.partition("=") for each in os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";"))
    stated = {name.strip(): value.strip() for name, _, value in parts}
    names = {"account_name": "AccountName", "account_key": "AccountKey", "endpoint": "BlobEndpoint"}
    found = {ours: stated[theirs] for ours, theirs in names.items() if stated.get(theirs)}
    if found:
        return found
    variables = {"account_name": "AZURE_STORAGE_ACCOUNT", "account_key": "AZURE_STORAGE_KEY"}
    return {ours: os.environ[theirs] for ours, theirs in variables.items() if os.environ.get(theirs)}
