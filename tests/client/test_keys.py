"""A key stays in its process: nothing that a program passes around has it, however it is written down."""

from __future__ import annotations

import copy
import dataclasses
import html
import json
import pickle
import traceback
from contextlib import nullcontext, suppress
from urllib.parse import quote, quote_plus

import pytest

from tests.support.fake_file_server import File
from tests.support.fake_sequencer import Answer, status
from tests.support.loopback import deaf_url
from tests.support.pictures import png
from tests.support.quick_time import hurry
from tests.support.raw_server import RawServer
from tests.support.subject import FakeClock
from xalora_client import (
    AdvancedOptions,
    Client,
    ConfigurationError,
    CustomTask,
    InvalidParameterError,
    TaskRecords,
    Text2VideoTask,
    WorkflowTask,
    XaloraError,
    config,
)

KEYS = ["a-plain-key", "b64/k+ey==", 'it\'s "so"\\long', "schlüssel & ключ", "#of#many#parts"]


class OwnTask(WorkflowTask):
    task_type, task_details = "own", {"parameters": {}}


@dataclasses.dataclass(eq=False, repr=False)
class OwnDataclass(OwnTask):
    text: str = "a"


def written(key):
    """The key as it may be found: in text, in an address, in JSON, in HTML."""
    ways = (key, quote(key, safe=""), quote(key, safe="").lower(), quote_plus(key), json.dumps(key)[1:-1])
    return {*ways, key.replace("/", r"\/"), html.escape(key), json.dumps(key, ensure_ascii=False)[1:-1]}


def in_other_forms(thing):
    """All that programs do to keep, send or show a thing, as bytes."""
    copies = [thing, copy.copy(thing), copy.deepcopy(thing), vars(thing)]
    with suppress(TypeError):  # No dataclass.
        copies.append(dataclasses.asdict(thing))
        copies.append(dataclasses.replace(thing))
    if hasattr(thing, "to_json"):
        copies.append(thing.to_json())
    for each in copies:
        yield f"{each!r} {each} {getattr(each, 'args', '')}".encode("utf-8", "replace")
        yield json.dumps(each, default=lambda part: getattr(part, "__dict__", str(part)), ensure_ascii=False).encode()
        with suppress(AttributeError, TypeError):  # It holds a client, which cannot be pickled.
            yield pickle.dumps(each)


def assert_hidden(key, things):
    for thing in things:
        for form in in_other_forms(thing):
            for way in written(key):
                assert way.encode() not in form, type(thing)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("whose", ["client", "task"])
def test_nothing_that_is_passed_around_has_it(sequencer, files, home, monkeypatch, caplog, key, whose):
    """The server sends it back wherever it can."""
    caplog.set_level("DEBUG")
    hurry(monkeypatch, AdvancedOptions, FakeClock())
    monkeypatch.setenv("XALORA_WORKFLOW_URL", sequencer.url)
    monkeypatch.setenv("XALORA_API_KEY", f"me#{key}" if whose == "client" else "me#another-key")
    own = key if whose == "task" else None
    words = f"no: {' '.join(sorted(written(key)))}"
    url = files.serve("/a.png", File(png()))
    echo = {
        "msg": words,
        "error": words,
        "task_details": {"parameters": {"api_key": key, "image": f"https://host/?k={quote(key, safe='')}"}},
        key: [{"nested": words}],
    }
    kinds = (
        Text2VideoTask("a", api_key=own),
        CustomTask("b", api_key=own),
        OwnTask(api_key=own),
        OwnDataclass(api_key=own),
    )
    with Client(ledger=True) as client:
        things = [*kinds, client.config, client.config.credentials, client.task("t1")]
        sequencer.script("task_result_query", status("running", **echo), status("finished", result=url, **echo))
        things += client.map(kinds[:1])
        if whose == "client":
            things += client.submit(kinds[1]).events()
        for end in (status("failed", **echo), status("canceled", **echo), Answer(words.encode()), Answer(echo, 404)):
            sequencer.script("task_result_query", end)
            things += client.map([OwnTask(api_key=own, workflow_id=str(len(things)))])
        for bad in (Answer({"message": words}, 400), Answer({"task_id": f"\0{key}"}), Answer({"msg": words})):
            sequencer.script("task_create", bad)
            things += client.map([OwnTask(api_key=own, workflow_id=str(len(things)))])
        with pytest.raises(InvalidParameterError) as caught:
            Text2VideoTask(key[:0], api_key=key)
        things += [caught.value, *(outcome.error for outcome in things if getattr(outcome, "error", None))]
        things += [outcome.result or outcome.file for outcome in things if getattr(outcome, "file", None)]
        with TaskRecords() as records:
            things += records.tasks()[0]
        assert len([thing for thing in things if isinstance(thing, XaloraError)]) == 8
        assert_hidden(key, things)
    stored = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    for way in written(key):
        assert way not in caplog.text
        assert way.encode() not in stored


@pytest.mark.parametrize(
    "answer",
    [None, b"", b"no HTTP", b"HTTP/1.1 401 No\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n[]"],
    ids=["refused", "closed", "garbage", "401", "another protocol"],
)
@pytest.mark.parametrize("call", ["submit", "cancel_task"])
def test_nor_have_the_variables_in_a_traceback(home, monkeypatch, answer, call):
    """Tools that report errors send them along."""
    hurry(monkeypatch, AdvancedOptions, FakeClock())
    server = nullcontext(None) if answer is None else RawServer(lambda _: iter([answer]))
    with server as running, deaf_url() as deaf:
        monkeypatch.setenv("XALORA_WORKFLOW_URL", running.url if running else deaf)
        monkeypatch.setenv("XALORA_API_KEY", "me#a-plain-key")
        client = Client(home=home)
        with pytest.raises(XaloraError) as caught:
            getattr(client, call)(Text2VideoTask("a") if call == "submit" else "t1")
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "a-plain-key" not in "".join(shown.format())


def test_nor_has_it_that_of_a_bucket(home):
    config.store(home, bucket="s3://mine", bucket_options={"secret_access_key": "of-the-bucket"})
    assert_hidden("of-the-bucket", [config.load(home=home)])
    assert config.load(home=home).bucket_options.reveal() == {"secret_access_key": "of-the-bucket"}


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, dataclasses.replace])
def test_a_copy_in_this_process_is_sent_with_it(sequencer, home, copied):
    task = Text2VideoTask("a", api_key="first-key")
    task.api_key = "its-own-key"
    assert copied(task) == task
    with Client("me#key-of-client", sequencer.url, home=home) as client:
        client.submit(copied(task))
    assert sequencer.seen[0].body["api_key"] == "its-own-key"
    with pytest.raises(InvalidParameterError, match="api_key"):
        task.api_key = " "


def test_a_pickle_of_a_task_with_its_own_is_not_charged_to_another(sequencer, home):
    plain, own = (pickle.loads(pickle.dumps(Text2VideoTask("a", api_key=key))) for key in (None, "its-own-key"))
    with Client("me#key-of-client", sequencer.url, home=home) as client:
        client.submit(plain)
        with pytest.raises(ConfigurationError, match="Set the key again"):
            client.submit(own)
        own.api_key = "its-own-key"
        client.submit(own)
    assert [seen.body["api_key"] for seen in sequencer.seen] == ["key-of-client", "its-own-key"]
