"""What there is to run: told to consumers by the sequencer and the sandbox, used by the library and the command."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from contextlib import closing

import pytest

from tests.support.fake_miner import IMAGE, TEXT, workflow
from tests.support.fake_sequencer import Answer, FakeSequencer
from tests.support.pictures import png
from xalora_client import (
    AdvancedOptions,
    Client,
    ConfigurationError,
    CustomTask,
    FluxLoraTask,
    InputImage,
    UpscalerTask,
    XaloraError,
)
from xalora_client.cli import main
from xalora_client.client import available


def choice(name, *choices, **more):
    return {"name": name, "kind": "choice", "default": choices[0], "choices": list(choices), **more}


def loras(*names):
    return workflow("txt2img.3", [{"name": "prompt", "kind": "text"}, choice("lora_name", *names)])


def upscaler(*parameters, name="upscaler", **more):
    return {**workflow(name, [*IMAGE, *parameters]), **more}


def listed(server, **wanted):
    answer = server.post("workflow_list", consumer_id="tester", **wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(server, **wanted):
    found = listed(server, **wanted)
    return [f"{each['task_type']}.{each['workflow_id']}" for each in found["workflows"]], found["away"]


@pytest.fixture
def client(home):
    """A client of a server that is told what is available before each create."""
    made = []

    def make(server, **more):
        advanced = AdvancedOptions(**more)
        made.append(Client("me#a-long-key", server.url, home=home, ledger=True, advanced=advanced))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def xalora(monkeypatch, capsys, home):
    """Run the command against a server."""
    monkeypatch.setenv("XALORA_API_KEY", "me#a-long-key")
    monkeypatch.setenv("XALORA_HOME", str(home))
    monkeypatch.chdir(home.parent)

    def run(server, *arguments):
        monkeypatch.setenv("XALORA_WORKFLOW_URL", server.url)
        return main([str(each) for each in arguments]), *capsys.readouterr()

    return run


def test_connected_miners_are_merged_and_those_that_are_away_are_named(sequencer):
    server = sequencer()
    assert listed(server) == {"workflows": [], "away": [], "left_off": 0, "miners": 0}
    server.miner("txt2vid.1")
    server.advance(60)
    server.miner(loras("fox", "hare"))
    server.miner(loras("hare", "wolf"), "upscaler")
    assert names(server) == (["txt2img.3", "upscaler.None"], ["txt2vid.1"])
    assert listed(server)["miners"] == 2
    (flux,) = listed(server, task_type="txt2img", workflow_id="3")["workflows"]
    assert sorted(flux["parameters"][1]["choices"]) == ["fox", "hare", "wolf"]
    assert flux["others"] is False
    assert names(server, task_type="txt2vid", workflow_id="1") == ([], ["txt2vid.1"])
    assert names(server, task_type="sticker") == names(server, workflow_id="9") == ([], [])
    server.advance(60)
    assert names(server) == ([], ["txt2img.3", "txt2vid.1", "upscaler"])


def number(low, high, step=None, kind="whole"):
    found = {"name": "steps", "kind": kind, "default": low, "minimum": low, "maximum": high, "step": step}
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("first", "second", "together", "others"),
    [
        (number(1, 9), number(4, 20), {"minimum": 1, "maximum": 20}, False),
        (number(0, 8, 4), number(0, 20, 4), {"minimum": 0, "maximum": 20, "step": 4}, False),
        (number(0, 8, 4), number(2, 20, 4), {"minimum": 0, "maximum": 20}, False),
        (number(1, None), number(4, 20), {"minimum": 1}, False),
        (number(1, 9), number(1.5, 9, kind="number"), {}, True),
        (choice("steps", 1, 2), {"name": "steps", "kind": "text"}, {}, True),
    ],
    ids=str,
)
def test_together_they_take_what_one_of_them_takes(sequencer, first, second, together, others):
    server = sequencer()
    server.miner(workflow("sums.1", [first]))
    server.miner(workflow("sums.1", [second]))
    (found,) = listed(server)["workflows"]
    (parameter,) = found["parameters"]
    limits = {name: parameter[name] for name in ("minimum", "maximum", "step") if name in parameter}
    assert (found["others"], {} if others else limits) == (others, together)


def test_who_has_no_key_learns_nothing(sequencer):
    server = sequencer(api_keys=("tester#secret-of-the-tester",))
    server.miner(loras("fox"))
    assert names(server) == (["txt2img.3"], [])
    for wrong in ({"api_key": "guess"}, {"consumer_id": "other"}, {"api_key": None}, {"consumer_id": None}):
        answer = server.post("workflow_list", **{"consumer_id": "tester", **wrong})
        assert (answer.status_code, "fox" in answer.text) == (401, False)


def test_twenty_thousand_workflows_make_no_large_answer_and_hold_up_nobody(sequencer):
    server = sequencer()
    for miner in range(40):
        server.miner(*(workflow(f"kind.{miner}-{number}") for number in range(500)))
    server.miner(workflow("long.1", [choice("lora_name", *("x" * 90 + str(each) for each in range(9000)))]))
    server.miner(workflow("zoo.1", [choice("lora_name", *map(str, range(4000)))]))
    longest, stopped = 0.0, threading.Event()

    async def measure():
        nonlocal longest
        while not stopped.is_set():
            begun = time.thread_time()  # Of its thread alone: this machine may be busy.
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - begun)

    gc.collect()
    gc.freeze()  # What the test itself keeps in memory is no part of the server.
    watching = asyncio.run_coroutine_threadsafe(measure(), server._loop)
    answer = server.post("workflow_list", consumer_id="tester")
    wanted = {"task_type": "zoo", "workflow_id": "1"}
    (zoo,) = listed(server, **wanted)["workflows"]
    stopped.set()
    watching.result(20)
    gc.unfreeze()
    found = answer.json()
    assert len(answer.content) < 2**21
    assert (len(found["workflows"]), found["left_off"]) == (500, 19_502)
    assert len(zoo["parameters"][0]["choices"]) == 4000
    assert longest < 0.1


def test_one_that_chooses_among_too_many_is_cut_and_says_so(sequencer):
    server = sequencer()
    server.miner(workflow("zoo.1", [choice("lora_name", *map(str, range(6000)))]))
    (zoo,) = listed(server)["workflows"]
    assert (len(zoo["parameters"][0]["choices"]), zoo["others"]) == (5000, True)


def test_the_library_has_them_as_values(sequencer, client, start):
    server = sequencer()
    with client(server) as known:
        assert known.workflows() == []
    server.miner(upscaler(outputs=["image"], models=["4x-UltraSharp.pth"], factor=4), loras("fox"))
    with client(server) as known:
        flux, larger = known.workflows()
        assert known.workflows("upscaler") == [larger]
    assert (flux.task_type, flux.workflow_id, flux.parameters["lora_name"].choices) == ("txt2img", "3", ("fox",))
    assert (larger.outputs, larger.usual_models, larger.usual_factor) == (("image",), ("4x-UltraSharp.pth",), 4)
    with client(start(server.data.parent / "sandbox")) as preview:
        assert [(each.task_type, each.usual_factor) for each in preview.workflows(workflow_id="1")] == [
            ("txt2vid", None), ("upscaler", 2), ("txt2img", None),
        ]  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [Answer({"message": "no"}, 404), Answer({}, 405), Answer(["x"]), Answer({"workflows": 3}), Answer(b"<html>")],
)
def test_a_server_that_does_not_tell_is_not_asked_before_a_create(client, answer):
    with closing(FakeSequencer()) as server:
        server.script("workflow_list", answer)
        with client(server, on_available=lambda workflow: pytest.fail("it did not tell")) as known:
            assert known.workflows() is None
            assert known.execute_workflow(CustomTask("sticker", {"prompt": "x"}))
    assert server.paths().count("workflow_list") == 1


@pytest.mark.parametrize(
    "answer", [Answer({}, 500), Answer({}, 401), Answer({}, 429), Answer(drop=True), Answer({"workflows": [{}]})]
)
def test_an_answer_that_fails_fails_no_create(client, answer):
    with closing(FakeSequencer()) as server:
        server.script("", Answer({"service": "Xalora sequencer", "workflow_list": True}))
        server.script("workflow_list", answer)
        with client(server, on_available=lambda workflow: pytest.fail("it did not tell")) as known:
            assert known.execute_workflow(CustomTask("sticker", {"prompt": "x"})) == "t1"
    assert server.paths().count("task_create") == 1


@pytest.mark.parametrize("endpoint", ["", "workflow_list"])
def test_a_server_that_does_not_answer_holds_up_no_create(client, monkeypatch, endpoint):
    monkeypatch.setattr(available, "SECONDS", 0.2)
    with closing(FakeSequencer()) as server:
        server.script("", Answer({"service": "Xalora sequencer", "workflow_list": True}))
        with server.silent(endpoint), client(server, on_available=lambda workflow: None) as known:
            for number in range(3):
                assert known.execute_workflow(CustomTask("sticker", {"number": number})) == "t1"
    assert server.paths().count(endpoint) == 1


def test_the_doctor_names_them(sequencer, xalora):
    server = sequencer()
    server.miner("upscaler", loras("fox"))
    assert "miners: at least one is connected; there is txt2img.3, upscaler\n" in xalora(server, "doctor")[1]


REFUSED = [
    (FluxLoraTask("x", "wolf", workflow_id="3"), ["lora_name is 'wolf'", "fox, hare.safetensors"]),
    (FluxLoraTask("x", "fox", workflow_id="9"), ["No miner offers the workflow txt2img.9", "txt2img.3, upscaler"]),
    (CustomTask("sticker", {}), ["No miner offers the workflow sticker", "upscaler"]),
    (CustomTask("upscaler", {"image": "data:,", "factor": 3}), ["factor is 3", "2, 4"]),
    (CustomTask("upscaler", {"image": "data:,", "factor": "4"}, workflow_id="2"), ["factor is '4'", "0.5 to 8"]),
]


@pytest.mark.parametrize(("task", "words"), REFUSED, ids=lambda each: str(each)[:60])
def test_what_no_miner_has_is_refused_before_the_create_with_what_there_is(sequencer, client, task, words):
    server = sequencer()
    half = {"name": "factor", "kind": "number", "default": 2, "minimum": 0.5, "maximum": 8}
    server.miner(loras("fox", "hare.safetensors"), upscaler(choice("factor", 2, 4)), upscaler(half, name="upscaler.2"))
    with client(server, on_available=lambda workflow: None) as known, pytest.raises(ConfigurationError) as caught:
        known.execute_workflow(task)
    assert [word for word in words if word not in str(caught.value)] == []
    assert server.rows("SELECT count(*) FROM tasks") == [(0,)]


@pytest.mark.parametrize(
    ("task_type", "workflow_id", "parameters"),
    [
        ("txt2img", "3", {"prompt": "x", "lora_name": "hare"}),
        ("txt2img", "3", {"prompt": "x", "lora_name": "wolf"}),
        ("txt2vid", "1", {"prompt": "x"}),
        ("anything", "7", {"prompt": "x", "lora_name": 3}),
    ],
)
def test_what_a_miner_may_take_later_is_created(sequencer, client, task_type, workflow_id, parameters):
    """One that is away has another LoRA, or another workflow; one of the public kind does not tell what it takes."""
    server = sequencer()
    server.miner("txt2vid.1", loras("wolf"))
    server.miner(register=False).post("miner_request", {"erc20_address": "0x1", "workflow_ids": ["7"]})
    server.advance(60)
    server.miner(loras("fox", "hare.safetensors"))
    with client(server, on_available=lambda workflow: None) as known:
        assert known.execute_workflow(CustomTask(task_type, parameters, workflow_id=workflow_id))


def test_a_workflow_that_fetches_its_image_by_itself_takes_files(sequencer, client):
    """The address is a text for its node, and the file has none before it is uploaded."""
    server = sequencer()
    server.miner(workflow("upscaler", [{"name": "image", "kind": "text"}]))
    with client(server, on_available=lambda workflow: None) as known:
        assert known.execute_workflow(UpscalerTask(InputImage.from_bytes(png())))


def test_a_result_is_reused_although_its_lora_is_gone(sequencer, client):
    server = sequencer()
    miner = server.miner(loras("fox"))
    task = FluxLoraTask("x", "fox", workflow_id="3")
    with client(server) as known:
        task_id = known.execute_workflow(task)
        miner.finish(miner.take())
        known.wait_for_result(task_id)
    miner.workflows = [loras("hare")]
    miner.register()
    with client(server, on_available=lambda workflow: None) as known:
        assert known.execute_workflow(task) == task_id
        with pytest.raises(XaloraError, match="lora_name is 'fox'"):
            known.execute_workflow(task, reuse=False)


@pytest.mark.parametrize(
    ("announced", "said"),
    [
        (upscaler(models=["4x-UltraSharp.pth"]), "upscaler: model 4x-UltraSharp.pth"),
        (upscaler(factor=2), "upscaler: factor 2"),
        (
            upscaler(choice("factor", 4, 2), choice("model", "sharp", "soft")),
            "upscaler: factor 4, model sharp",
        ),
        (upscaler(choice("model_name", "a.pth", "b.pth"), factor=1.5), "upscaler: factor 1.5, model a.pth"),
        (upscaler(choice("upscale_by", "2x", "4x")), "upscaler: factor 2x"),
        (upscaler(factor=-1, models=[3]), ""),
        (upscaler(), ""),
    ],
)
def test_upscale_says_factor_and_model(sequencer, xalora, home, announced, said):
    server = sequencer()
    server.miner(announced)
    (home.parent / "small.png").write_bytes(png())
    assert xalora(server, "upscale", "small.png", "-o", "x.png", "--timeout", "0.3")[0] == 4
    miner = server.miner(announced, name="other")
    miner.finish(miner.take())
    code, out, err = xalora(server, "upscale", "small.png", "-o", "x.png", "--no-reuse", "--timeout", "0.3", "--json")
    assert (code, err.count("xalora: upscaler: ")) == (4, bool(said))
    assert said in err
    told = {name: value for name, value in json.loads(out).items() if name in ("factor", "model")}
    assert ", ".join(f"{name} {value}" for name, value in told.items()) == said.removeprefix("upscaler: ")


def test_the_command_lists_them(sequencer, xalora):
    server = sequencer()
    assert xalora(server, "workflows", "list") == (0, "", "xalora: no miner is connected\n")
    server.miner(loras("fox", "hare"), upscaler(models=["a.pth"], factor=2), workflow("txt2vid.1", TEXT))
    code, out, err = xalora(server, "workflows", "list")
    assert (code, err) == (0, "")
    assert 'txt2img.3\n  prompt     a text (required)\n  lora_name  one of fox, hare (default "fox")\n' in out
    assert "upscaler\n" in out
    assert "  factor: 2\n  models: a.pth\n" in out
    with closing(FakeSequencer()) as other:
        assert xalora(other, "workflows", "list") == (0, "", "xalora: the server does not tell what it offers\n")
        assert '{"workflows": null}' in xalora(other, "workflows", "list", "--json")[1]


def test_the_command_refuses_an_unknown_lora_with_the_list(sequencer, xalora):
    server = sequencer()
    server.miner(loras("fox", "hare"))
    code, out, err = xalora(server, "flux-lora", "x", "--lora", "wolf", "-o", "x.png")
    assert (code, out) == (2, "")
    assert "fox, hare" in err
    assert server.rows("SELECT count(*) FROM tasks") == [(0,)]


def test_images_are_not_uploaded_for_what_is_refused(sequencer, client):
    server = sequencer()
    server.miner("txt2vid.1")
    with client(server, on_available=lambda workflow: None) as known:
        image = UpscalerTask(InputImage.from_bytes(png()))
        with pytest.raises(ConfigurationError, match=r"No miner offers the workflow upscaler.*Offered are: txt2vid.1"):
            known.upload_images(image)
    assert not [*(server.data / "images").glob("*")]


def test_what_miners_lack_for_it_is_said_before_anything_is_sent(sequencer, xalora, tmp_path):
    server = sequencer()
    lacking = [{"task_type": "upscaler", "workflow_id": None, "msg": "4x-UltraSharp.pth is missing"}]
    server.miner("txt2vid.1", name="box", register=False).register(left_out=lacking)
    (tmp_path / "a.png").write_bytes(png())
    code, _, said = xalora(server, "upscale", tmp_path / "a.png", "-o", tmp_path / "b.png")
    assert code == 2
    for words in (
        "No miner offers the workflow upscaler",
        "box",
        "4x-UltraSharp.pth is missing",
        "Offered are: txt2vid.1",
    ):
        assert words in said
    assert "left_out" not in listed(server, task_type="txt2vid", workflow_id="1")
