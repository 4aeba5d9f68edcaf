"""The lifecycle rule that the README recommends is one, and never removes what a task still needs."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.buckets import BUCKET
from xalora_client.uploads.bucket import FRESH, LONGEST_LINK

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_server_takes_the_rule(bucket):
    (rule,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    rules = json.loads(rule)
    bucket.s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=rules)
    (kept,) = bucket.s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    # An object may be as old as FRESH when it is taken for a task, and its link may last this long from then.
    assert kept["Expiration"]["Days"] * 24 * 3600 > LONGEST_LINK + FRESH
    bucket.s3.delete_bucket_lifecycle(Bucket=BUCKET)


def test_googles_rule_is_as_long():
    (google,) = re.findall(r'`(\{"rule".*?)`', README)
    assert json.loads(google)["rule"][0]["condition"]["age"] * 24 * 3600 > LONGEST_LINK + FRESH
