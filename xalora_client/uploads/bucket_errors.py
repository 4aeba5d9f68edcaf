"""Errors for a bucket's answers, which say what to do. S3, Google Cloud Storage and Azure have similar codes."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

from ..errors import StorageError
from ..protocol.requests import Response

MOST_SKEW = 300.0
"""Above so many seconds, a clock that is off is the reason for a refusal. S3 allows 900."""

_REGION = {
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "TemporaryRedirect",
    "IllegalLocationConstraintException",
}
MISSING = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "AccountNotFound"}
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "StorageFull"}
_PERHAPS_REGION = "AuthorizationQueryParametersError"
"""What Amazon calls a signed link for another region, and other mistakes in it: only the former names a region."""
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_TRANSIENT = {"SlowDown", "RequestTimeout", "InternalError", "ServerBusy", "OperationTimedOut", "ServiceUnavailable"}


def code_of(answer: Response) -> str:
    """The provider's name for the error, or ""."""
    if header := answer.headers.get("x-ms-error-code"):
        return header
    found = re.search(rb"<Code>([A-Za-z0-9.]{1,80})</Code>", answer.body)
    return found[1].decode() if found else ""


def region_of(answer: Response) -> str | None:
    """The bucket's region as the answer names it, when the request went to another one."""
    if code_of(answer) not in {*_REGION, _PERHAPS_REGION} and answer.status not in (301, 307):
        return None
    named = answer.headers.get("x-amz-bucket-region", "").encode() or b"".join(
        re.findall(rb"<Region>([^<]*)</Region>", answer.body)[:1]
    )
    return named.decode() if re.fullmatch(rb"[a-z0-9-]{2,40}", named) else None


def no_credentials(what: str, bucket_url: str) -> StorageError:
    """The error for credentials that are missing or not accepted."""
    return StorageError(what, code=f"bucket_credentials_{bucket_url.partition(':')[0]}")


def bucket_error(answer: Response, bucket_url: str) -> StorageError:
    """The error for an answer outside 2xx."""
    code, skew = code_of(answer), seconds_since(answer, "date")
    what = f"The bucket {bucket_url} answered {answer.status}{f' {code}' if code else ''}"
    if code in _CLOCK or (answer.status in (400, 401, 403) and abs(skew or 0.0) > MOST_SKEW):
        off = f"{abs(skew) / 60:.0f} min {'ahead' if skew > 0 else 'behind'}" if skew else "wrong"
        return StorageError(f"{what}, because this machine's clock is {off}", code="bucket_clock")
    if code in MISSING:
        return StorageError(f"{what}: it does not exist", code="bucket_missing")
    if code in _REGION or answer.status in (301, 307):
        return StorageError(f"{what}: it is in another region", code="bucket_region")
    if code in _FULL or answer.status == 507:
        return StorageError(f"{what}: it is full", code="bucket_full")
    if answer.status in (401, 403):
        return no_credentials(f"{what}: the credentials are not accepted", bucket_url)
    transient = answer.status in (408, 425, 429) or answer.status >= 500 or code in _TRANSIENT
    return StorageError(what, code="bucket_refused").derived(transient=transient and answer.status != 501)


def seconds_since(answer: Response, header: str) -> float | None:
    """The seconds from the time in a header to the answer's arrival by this machine's clock; None without a time.

    For "date", that is how far this clock is ahead of the server's.
    """
    try:
        return answer.received - parsedate_to_datetime(answer.headers.get(header, "")).timestamp()
    except (TypeError, ValueError):
        return None
