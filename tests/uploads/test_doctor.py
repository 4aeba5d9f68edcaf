"""The doctor tries the bucket step by step, and leaves nothing there."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.buckets import Fault, error_body
from xalora_client.client.doctor import examine


@pytest.fixture
def checks(bucket, counted, monkeypatch):
    monkeypatch.setenv("XALORA_API_KEY", "consumer-1#secret-key")
    monkeypatch.setenv("XALORA_WORKFLOW_URL", counted.url)

    def run():
        found = asyncio.run(examine())
        for secret in (*bucket.settings.values(), "X-Amz-Signature"):
            assert secret not in repr(found) or secret.startswith(("s3:", "http"))
        return {check.name: check for check in found}

    return run


def test_a_bucket_that_works(bucket, checks):
    found = checks()
    for step in ("write", "link", "remove"):
        assert found[f"bucket: {step}"].status == "ok"
    # It is on this machine, where miners elsewhere cannot read it.
    assert "private network" in found["bucket: read from outside"].text
    assert found["bucket: private"].status == "ok"
    assert bucket.names() == []


def test_a_bucket_that_anybody_can_read(bucket, checks):
    bucket.faults.append(Fault("GET", 200, b"for all to see", unsigned=True))
    found = checks()["bucket: private"]
    assert (found.status, "public's right" in found.advice) == ("warning", True)


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        (Fault("PUT", 403, error_body("InvalidAccessKeyId")), "write"),
        (Fault("GET", 404, error_body("NoSuchKey")), "read from outside"),
        (Fault("DELETE", 403, error_body("AccessDenied")), "remove"),
    ],
    ids=["write", "read", "remove"],
)
def test_the_step_that_fails_is_named(fault, step, bucket, checks):
    bucket.faults.append(fault)
    found = checks()[f"bucket: {step}"]
    assert found.status == "problem"
    assert found.advice


def test_a_bucket_that_is_not_there(bucket, checks, monkeypatch):
    monkeypatch.setenv("XALORA_BUCKET", "s3://not-there")
    assert "does not exist" in checks()["bucket: write"].text
