"""A batch that is killed in the middle: the next run uploads what is missing, and no task is created twice."""

from __future__ import annotations

import pytest

from tests.support.buckets import picture
from tests.support.processes import Command, poll

COUNT = 4


def sent(bucket, share):
    """Whether that share of some upload has arrived."""
    return any(each.method == "PUT" and each.received > share * 250_000 for each in bucket.asked)


def fetched(bucket):
    """Whether a miner has asked for an image: our own looks ask for one byte."""
    return any(each.method == "GET" and each.status == 200 and "range" not in each.headers for each in bucket.asked)


MOMENTS = {
    "before anything": lambda bucket: True,
    "first look": lambda bucket: len(bucket.asked) >= 1,
    "an upload begins": lambda bucket: sent(bucket, 0),
    "a third is sent": lambda bucket: sent(bucket, 0.33),
    "two thirds are sent": lambda bucket: sent(bucket, 0.67),
    "one is stored": lambda bucket: len(bucket.puts()) >= 1,
    "two are stored": lambda bucket: len(bucket.puts()) >= 2,
    "one is fetched": fetched,
    "one is removed": lambda bucket: "DELETE" in bucket.methods(),
    "all are stored": lambda bucket: len(bucket.puts()) >= COUNT,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed(moment, bucket, sandbox, tmp_path, home):
    for number in range(COUNT):
        (tmp_path / f"{number}.png").write_bytes(picture(seed=100 * list(MOMENTS).index(moment) + number, side=290))
    bucket.bytes_per_second = 2e6
    names = [f"{number}.png" for number in range(COUNT)]
    jobs = set(sandbox.rows("SELECT job_id FROM tasks"))

    def start():
        settings = {"XALORA_API_KEY": "consumer-1#secret-key", "XALORA_WORKFLOW_URL": sandbox.url, **bucket.settings}
        return Command("upscale", *names, "-o", "out", "--max-parallel", 2, cwd=tmp_path, home=home, **settings)

    killed = start()
    poll(lambda: MOMENTS[moment](bucket) or killed.process.poll() is not None)
    killed.process.kill()
    killed.close()
    bucket.bytes_per_second = None
    again = start()
    code = again.wait()
    again.close()
    assert code == 0, again.errors()
    assert len(bucket.puts()) == len(set(bucket.puts())) == COUNT
    assert len(set(sandbox.rows("SELECT job_id FROM tasks")) - jobs) == COUNT
    assert bucket.names() == []
    assert len(list((tmp_path / "out").iterdir())) == COUNT
