"""Images by a bucket: uploaded once, read by a link, gone after the task. Each test with both clients."""

from __future__ import annotations

import asyncio
import base64
import gc
import mimetypes
import urllib.parse
from datetime import datetime, timedelta, timezone

import pytest

from tests.support.buckets import BUCKET, Fault, error_body, fetch, images_of, picture
from tests.support.fake_sequencer import DROP, Answer, status
from xalora_client import (
    AdvancedOptions,
    AsyncClient,
    CustomTask,
    InputImage,
    InvalidParameterError,
    NetworkError,
    PaymentRequiredError,
    ServerError,
    TaskFailedError,
    UpscalerTask,
    XaloraError,
)
from xalora_client.protocol.parameters import encode_data_uri
from xalora_client.uploads.uploads import job_of, object_name


def task_of(content, **options):
    return UpscalerTask(InputImage.from_bytes(content, name="photo.png"), **options)


@pytest.fixture
def keeper(subject):
    subject.options["ledger"] = True
    return subject


def execute(task, **options):
    return lambda client: client.execute_workflow(task, **options)


def finish(task, **options):
    return lambda client: client.execute_workflow_and_wait_for_result(task, **options)


def test_the_miner_gets_a_link_to_the_very_bytes(bucket, counted, keeper):
    content = picture()
    keeper.do(execute(task_of(content)))
    (address,) = images_of(counted)
    assert address.startswith(f"{bucket.url}/{BUCKET}/prefix/")
    assert fetch(address) == (200, content)
    (name,) = bucket.names()
    assert bucket.s3.head_object(Bucket=BUCKET, Key=name)["ContentType"] == "image/png"


def test_the_link_lasts_for_the_task_and_a_margin(bucket, counted, subject):
    subject.do(execute(task_of(picture(), timeout_seconds=600)))
    (address,) = images_of(counted)
    assert "X-Amz-Expires=4200" in address
    subject.do(execute(task_of(picture(), timeout_seconds=7 * 24 * 3600)))
    assert "X-Amz-Expires=604800" in images_of(counted)[1]  # More is not to be had.


def test_it_is_gone_after_the_task(bucket, counted, keeper):
    keeper.do(finish(task_of(picture())))
    assert len(bucket.puts()) == 1
    assert bucket.names() == []


def test_it_is_gone_without_a_ledger_too(bucket, counted, subject):
    subject.do(finish(task_of(picture())))
    assert len(bucket.puts()) == 1
    assert bucket.names() == []


def test_it_is_gone_after_a_failure(bucket, counted, keeper):
    counted.script("task_result_query", status("failed", msg="no memory"))
    with pytest.raises(TaskFailedError):
        keeper.do(finish(task_of(picture())))
    assert bucket.names() == []


def test_it_is_gone_when_a_later_run_hears_of_the_end(bucket, counted, keeper):
    task_id = keeper.do(execute(task_of(picture())))
    assert len(bucket.names()) == 1
    keeper.do(lambda client: client.query_task_result(task_id))
    assert bucket.names() == []


def test_it_stays_if_that_is_set(bucket, counted, keeper, monkeypatch):
    monkeypatch.setenv("XALORA_BUCKET_KEEP", "1")
    keeper.do(finish(task_of(picture())))
    assert len(bucket.names()) == 1


def test_the_end_of_one_task_leaves_the_image_of_another(bucket, counted, keeper):
    content = picture()
    first = keeper.do(execute(task_of(content)))
    second = keeper.do(execute(task_of(content, workflow_id="other")))
    keeper.do(lambda client: client.query_task_result(first))
    assert [fetch(each)[0] for each in images_of(counted)] == [404, 200]
    keeper.do(lambda client: client.query_task_result(second))
    assert bucket.names() == []


def test_a_refused_create_leaves_nothing(bucket, counted, keeper):
    counted.script("task_create", Answer({"message": "no credit"}, 402))
    with pytest.raises(PaymentRequiredError):
        keeper.do(execute(task_of(picture())))
    assert bucket.names() == []


def test_a_create_in_doubt_keeps_its_image(bucket, counted, keeper):
    counted.script("task_create", Answer({"message": "oops"}, 500), Answer({"task_id": "t1"}))
    with pytest.raises(ServerError):
        keeper.do(execute(task_of(picture())))
    assert len(bucket.names()) == 1
    keeper.do(finish(task_of(picture())))
    assert len(bucket.puts()) == 1
    assert bucket.names() == []


def test_a_result_that_is_known_needs_no_upload(bucket, counted, keeper):
    content = picture()
    keeper.do(finish(task_of(content)))
    keeper.do(finish(task_of(content)))
    assert len(bucket.puts()) == 1
    assert len(images_of(counted)) == 1


def test_the_same_image_is_one_task_wherever_it_lies(bucket, counted, keeper, monkeypatch):
    content = picture()
    first = keeper.do(finish(task_of(content)))
    monkeypatch.setenv("XALORA_BUCKET", f"s3://{BUCKET}/elsewhere")
    assert keeper.do(finish(task_of(content))).task_id == first.task_id
    monkeypatch.setenv("XALORA_IMAGE_DELIVERY", "data-uri")
    assert keeper.do(finish(UpscalerTask(encode_data_uri(content, "image/png")))).task_id == first.task_id


def test_data_uris_go_by_the_bucket_too(bucket, counted, keeper):
    content = picture()
    uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    keeper.do(execute(CustomTask("blend", {"images": [uri, uri], "prompt": "data: image/png, please"})))
    (sent,) = [each.body["task_details"]["parameters"] for each in counted.seen if each.path == "/task_create"]
    assert [fetch(address) for address in sent["images"]] == [(200, content)] * 2
    assert sent["prompt"] == "data: image/png, please"
    assert len(bucket.puts()) == 1


def test_an_address_goes_through_untouched(bucket, counted, keeper):
    address = "https://images.example/a.png?version=3&X-Amz-Signature=abc"
    keeper.do(execute(UpscalerTask(address)))
    assert images_of(counted) == [address]
    assert bucket.asked == []


def signed(begun, seconds=600):
    return f"https://images.example/a.png?X-Amz-Date={begun:%Y%m%dT%H%M%SZ}&X-Amz-Expires={seconds}&X-Amz-Signature=s"


def test_an_expired_link_is_refused_before_anything_is_created(bucket, counted, keeper):
    with pytest.raises(InvalidParameterError, match=r"expired at .*new one"):
        keeper.do(execute(UpscalerTask(signed(datetime.now(timezone.utc) - timedelta(hours=1)))))
    assert counted.seen == []


def test_a_new_link_to_the_same_file_is_the_same_task(bucket, counted, keeper):
    now = datetime.now(timezone.utc)
    links = [signed(now), signed(now - timedelta(seconds=60))]
    assert keeper.do(execute(UpscalerTask(links[0]))) == keeper.do(execute(UpscalerTask(links[1])))


def test_uploaded_ahead_it_is_there_when_the_task_is_created(bucket, counted, keeper):
    task, seen = task_of(picture()), []

    def blocking(client):
        client.upload_images(task, seen.append)
        assert counted.seen == []
        return client.execute_workflow(task)

    async def awaited(client):
        await client.upload_images(task, seen.append)
        assert counted.seen == []
        return await client.execute_workflow(task)

    keeper.do(blocking if keeper.kind == "blocking" else awaited)
    assert len(bucket.puts()) == 1
    assert (seen[-1].name, seen[-1].sent, seen[-1].total) == ("photo.png", len(picture()), len(picture()))
    assert fetch(images_of(counted)[0])[0] == 200


def test_what_was_uploaded_ahead_in_vain_is_removed(bucket, counted, keeper):
    keeper.do(lambda client: client.upload_images(task_of(picture())))
    assert len(bucket.puts()) == 1
    assert bucket.names() == []


def test_an_old_object_is_stored_again_before_a_lifecycle_rule_takes_it(bucket, counted, keeper):
    counted.script("task_create", DROP, Answer({"task_id": "t1"}))
    with pytest.raises(NetworkError):
        keeper.do(execute(task_of(picture())))
    old = (datetime.now(timezone.utc) - timedelta(days=2)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    bucket.faults.append(Fault("GET", 206, b"x", {"Last-Modified": old}))
    keeper.do(execute(task_of(picture())))
    assert len(bucket.puts()) == 2
    assert len(set(bucket.puts())) == 1


def test_no_secret_is_written_anywhere(bucket, counted, keeper, home, caplog):
    caplog.set_level("DEBUG")
    keeper.do(finish(task_of(picture())))
    bucket.faults.append(
        Fault("GET", 403, error_body("SignatureDoesNotMatch", "X-Amz-Signature bucket-secret-of-tests"))
    )
    with pytest.raises(Exception, match="credentials") as caught:
        keeper.do(finish(task_of(picture(1))))
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file()).decode("latin-1")
    assert "upscaler" in written
    for text in (written, caplog.text, str(caught.value), repr(caught.value)):
        for secret in ("bucket-secret-of-tests", "X-Amz-Signature", "X-Amz-Credential"):
            assert secret not in text


QUOTES = {
    "in a sentence": "cannot fetch {}: 403",
    "in a JSON text": '{{"url": "{}"}}',
    "in HTML": '<a href="{amp}">',
    "without the host": "Max retries exceeded with url: {path} (Caused by",
    "in another link": "https://proxy.example/?url={quoted}",
}


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("where", ["task", "create"])
def test_a_server_that_quotes_the_link_spreads_no_signature(where, quote, bucket, counted, keeper, home):
    def message():
        link = images_of(counted)[-1]
        path = link[link.index("/", 8) :]
        return QUOTES[quote].format(
            link, amp=link.replace("&", "&amp;"), path=path, quoted=urllib.parse.quote(link, "")
        )

    if where == "create":
        counted.script("task_create", lambda _: Answer({"message": message()}, 400))
    counted.script("task_result_query", lambda _: Answer({"status": "failed", "msg": message()}))
    with pytest.raises(XaloraError) as caught:
        keeper.do(finish(task_of(picture())))
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file()).decode("latin-1")
    assert "upscaler" in written
    for text in (written, str(caught.value)):
        assert "X-Amz" not in text


def test_the_name_of_an_object_is_the_same_on_every_system(monkeypatch):
    monkeypatch.setattr(mimetypes, "guess_extension", lambda *_: None)  # As where Python's table is another.
    kinds = ("png", "jpeg", "webp", "avif", "tiff", "GIF", "x")
    names = [object_name("f", "job-1", "a", f"image/{each}").removeprefix("f/job-1/") for each in kinds]
    assert names == ["a.png", "a.jpg", "a.webp", "a.avif", "a.tiff", "a.gif", "a"]


@pytest.mark.parametrize("prefix", ["my job", "a/b", "ä", "..", "100%", "~", "x?y#z&"])
def test_any_prefix_of_job_ids_can_be_in_a_name(prefix, bucket, counted, keeper):
    keeper.do(execute(task_of(picture(), job_id_prefix=prefix)))
    (address,) = images_of(counted)
    assert fetch(address) == (200, picture())
    (create,) = [each.body for each in counted.seen if each.path == "/task_create"]
    (name,) = bucket.names()
    assert job_of(name.removeprefix("prefix/")) == create["job_id"]
    keeper.do(lambda client: client.query_task_result("t1"))
    assert bucket.names() == []


@pytest.mark.parametrize("wrong", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_what_is_no_hash_names_no_object(wrong, bucket, counted, keeper):
    with pytest.raises(InvalidParameterError, match="64 hex digits"):
        keeper.do(execute(UpscalerTask(InputImage(lambda: picture(), lambda: wrong, "image/png"))))
    assert bucket.names() == []


def test_a_file_that_cannot_be_read_is_named(bucket, counted, keeper, tmp_path):
    with pytest.raises(InvalidParameterError, match=r"nowhere\.png.*a file that can be read"):
        keeper.do(execute(UpscalerTask(InputImage.from_file(tmp_path / "nowhere.png", "image/png"))))


class Content(bytes):
    """The bytes of an encoded image, which count those that are still held."""

    held = most = 0

    def __new__(cls, content: bytes) -> Content:
        cls.held += 1
        cls.most = max(cls.most, cls.held)
        return super().__new__(cls, content)

    def __del__(self) -> None:
        type(self).held -= 1


def test_no_more_encoded_images_are_held_than_asked_for(bucket, counted, monkeypatch):
    monkeypatch.setattr(Content, "most", 0)
    pictures = [picture(seed) for seed in range(8)]
    images = [InputImage(lambda c=content: Content(c), lambda s=seed: f"{s:064x}", "image/png")
              for seed, content in enumerate(pictures)]  # fmt: skip

    async def main():
        async with AsyncClient(
            "consumer-1#secret-key", counted.url, ledger=True, advanced=AdvancedOptions(images_at_once=2)
        ) as client:
            await asyncio.gather(*(client.upload_images(UpscalerTask(image)) for image in images))
            assert len(bucket.names()) == 8

    gc.disable()  # What only the collector would find is held, too.
    try:
        asyncio.run(main())
    finally:
        gc.enable()
    assert Content.most == 2
