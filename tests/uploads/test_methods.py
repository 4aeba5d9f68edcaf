"""The upload method without a bucket: an upload to a sequencer of ours, else inside the create, else none."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tests.support.buckets import images_of, picture
from tests.support.fake_sequencer import Answer
from xalora_client import (
    APIStatusError,
    BadRequestError,
    Client,
    ConfigurationError,
    InputImage,
    InvalidParameterError,
    UpscalerTask,
)
from xalora_client.config import validation
from xalora_client.protocol.parameters import encode_data_uri
from xalora_client.uploads import uploads

ABOUT = Answer({"service": "Xalora sequencer", "version": "1", "image_upload": True})


@pytest.fixture
def keeper(subject):
    subject.options["ledger"] = True
    return subject


def task_of(content, **options):
    return UpscalerTask(InputImage.from_bytes(content, name="photo.png"), **options)


def execute(task, **options):
    return lambda client: client.execute_workflow(task, **options)


class TestTheSandbox:
    """A sequencer of ours, in a process of its own."""

    @pytest.fixture
    def keeper(self, keeper, sandbox):
        keeper.options["workflow_url"] = sandbox.url
        return keeper

    def test_the_bytes_travel_once_and_not_in_the_create(self, keeper, sandbox):
        content = picture(seed=1001, side=200)
        for number in range(3):
            keeper.do(execute(task_of(content, workflow_id=f"w{keeper.kind}{number}")))
        sha256 = hashlib.sha256(content).hexdigest()
        assert sandbox.rows("SELECT size, complete FROM images WHERE sha256 = ?", sha256) == [(len(content), 1)]
        details = sandbox.rows("SELECT task_details FROM tasks WHERE workflow_id GLOB ?", f"w{keeper.kind}*")
        assert len(details) == 3
        assert all("/images/" in each for (each,) in details)

    def test_the_result_comes_back(self, keeper):
        task = task_of(picture(seed=1002))
        keeper.options["clock"] = __import__("time").monotonic
        result = keeper.do(lambda client: client.execute_workflow_and_wait_for_result(task))
        assert result.media_url


def test_other_servers_get_it_inside_the_create(counted, keeper):
    content = picture()
    keeper.do(execute(task_of(content)))
    assert images_of(counted) == [f"data:image/png;base64,{base64.b64encode(content).decode()}"]


def test_a_data_uri_to_such_a_server_is_sent_as_it_was(counted, keeper):
    uri = encode_data_uri(picture(), "image/png")
    keeper.do(execute(UpscalerTask(uri)))
    assert images_of(counted) == [uri]


def test_too_large_for_a_create(counted, keeper, monkeypatch):
    monkeypatch.setattr(uploads, "LARGEST_INLINE", 500)
    with pytest.raises(InvalidParameterError, match=r"photo\.png.*XALORA_BUCKET"):
        keeper.do(execute(task_of(picture())))
    assert images_of(counted) == []


@pytest.mark.parametrize("method", ["auto", "data-uri", "sequencer"])
def test_the_public_network_is_refused_before_anything_is_sent(method, counted, keeper, monkeypatch):
    monkeypatch.setattr(validation, "DEFAULT_URL", "https://127.0.0.1")  # Its port may be written, too.
    monkeypatch.setenv("XALORA_IMAGE_DELIVERY", method)
    for task in (task_of(picture()), UpscalerTask(encode_data_uri(picture(), "image/png"))):
        with pytest.raises(ConfigurationError, match=r"XALORA_BUCKET.*README"):
            keeper.do(execute(task))
        with pytest.raises(ConfigurationError, match="XALORA_BUCKET"):
            keeper.do(lambda client, task=task: client.upload_images(task))
    assert counted.seen == []
    keeper.do(execute(UpscalerTask("https://images.example/a.png")))
    assert images_of(counted) == ["https://images.example/a.png"]


class TestUploads:
    """Against a server that answers as the test says."""

    @pytest.fixture
    def server(self, counted):
        counted.script("", ABOUT)
        counted.script(
            "image_upload",
            Answer({"image": f"{counted.url}/images/t1", "upload_url": "http://inside/x/image_upload/t1"}),
        )
        counted.script("image_upload/t1", Answer({"image": f"{counted.url}/images/t1"}))
        return counted

    def test_what_is_sent(self, server, keeper):
        content = picture()
        keeper.do(execute(task_of(content)))
        (asked,) = [each for each in server.seen if each.path == "/image_upload"]
        assert asked.body == {
            "consumer_id": "consumer-1",
            "api_key": "secret-key",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "content_type": "image/png",
        }
        # To the address that is known to reach the server, whatever it calls itself.
        (put,) = [each for each in server.seen if each.method == "PUT"]
        assert put.path == "/image_upload/t1"
        assert images_of(server) == [f"{server.url}/images/t1"]

    def test_what_is_there_is_not_sent(self, server, keeper):
        server.script("image_upload", Answer({"image": f"{server.url}/images/t9"}))
        keeper.do(execute(task_of(picture())))
        assert "PUT" not in [each.method for each in server.seen]
        assert images_of(server) == [f"{server.url}/images/t9"]

    def test_only_what_is_missing_is_sent(self, server, keeper):
        content, sent = picture(), []
        answer = {"image": f"{server.url}/images/t1", "upload_url": f"{server.url}/image_upload/t1", "received": 100}
        server.script("image_upload", Answer(answer))
        task = task_of(content)
        keeper.do(lambda client: client.upload_images(task, lambda progress: sent.append(progress.sent)))
        (put,) = [each for each in server.seen if each.method == "PUT"]
        assert put.headers["upload-offset"] == "100"
        assert put.body == {"bytes": len(content) - 100}
        assert sent[-1] == len(content)

    @pytest.mark.parametrize("received", [-1, 0, 10**9, "1", None])
    def test_nonsense_about_what_is_there(self, received, server, keeper):
        content = picture()
        answer = {"image": f"{server.url}/images/t1", "upload_url": f"{server.url}/image_upload/t1"}
        server.script("image_upload", Answer(answer | {"received": received}))
        keeper.do(execute(task_of(content)))
        (put,) = [each for each in server.seen if each.method == "PUT"]
        assert put.body == {"bytes": len(content)}

    @pytest.mark.parametrize("status", [409, 422, 404, 503])
    def test_an_upload_that_fails_is_announced_again(self, status, server, keeper):
        server.script("image_upload/t1", Answer({"message": "no"}, status), Answer({}))
        keeper.do(execute(task_of(picture())))
        assert [each.path for each in server.seen].count("/image_upload") == 2
        assert len(images_of(server)) == 1

    @pytest.mark.parametrize("status", [429, 502])
    def test_a_server_that_is_busy_is_asked_again_what_it_takes(self, status, server, keeper):
        server.script("", Answer({"message": "busy"}, status), ABOUT)
        keeper.do(execute(task_of(picture())))
        assert images_of(server) == [f"{server.url}/images/t1"]

    def test_one_that_is_too_large(self, server, keeper):
        server.script("image_upload", Answer({"message": "the image is larger than 128 MiB"}, 413))
        with pytest.raises(APIStatusError, match=r"photo\.png was not uploaded.*128 MiB"):
            keeper.do(execute(task_of(picture())))
        assert images_of(server) == []

    def test_each_task_announces_its_image(self, server, keeper):
        def twice(client):
            client.execute_workflow(task_of(picture(), workflow_id="one"))
            return client.execute_workflow(task_of(picture(), workflow_id="two"))

        async def twice_awaited(client):
            await client.execute_workflow(task_of(picture(), workflow_id="one"))
            return await client.execute_workflow(task_of(picture(), workflow_id="two"))

        action = twice if keeper.kind == "blocking" else twice_awaited
        keeper.do(action)
        assert [each.path for each in server.seen].count("/image_upload") == 2

    def test_after_a_refused_create_it_is_announced_again(self, server):
        with Client("consumer-1#secret-key", server.url) as client:
            client.execute_workflow(task_of(picture()))
            server.script("task_create", Answer({"message": "no such image"}, 400), Answer({"task_id": "t9"}))
            with pytest.raises(BadRequestError):
                client.execute_workflow(task_of(picture()))
            client.execute_workflow(task_of(picture()))
        assert [each.path for each in server.seen].count("/image_upload") == 3

    def test_another_host_is_never_sent_the_bytes(self, server, keeper):
        server.script("image_upload", Answer({"image": "x", "upload_url": "http://elsewhere.example/take"}))
        with pytest.raises(ValueError, match="not one of its own"):
            keeper.do(execute(task_of(picture())))
        assert images_of(server) == []
