"""What is accepted at the create: workflows that some miner can run, with the parameters that it takes."""

from __future__ import annotations

import json

import pytest

from tests.support.fake_miner import in_thread, workflow
from tests.support.ledger_steps import records_of
from xalora_client import Client, CustomTask, ServerError
from xalora_client.ledger import Ledger

LORAS = ["fox.safetensors", "hare.safetensors"]


def with_loras(*names):
    return workflow("txt2img.3", [{"name": "lora_name", "kind": "choice", "default": names[0], "choices": list(names)}])


def refused(server, name, parameters, status=400):
    task_type, _, workflow_id = name.partition(".")
    answer = server.try_create(task_type, parameters, workflow_id=workflow_id or None)
    assert answer.status_code == status
    return answer.json()["message"]


def test_before_any_miner_was_there_the_answer_says_so(sequencer):
    assert "no miner has been here yet" in refused(sequencer(), "txt2vid.1", {"prompt": "x"}, 503)


def test_and_the_client_knows_that_nothing_was_created(sequencer, home):
    with (
        Client("me#a-long-key", sequencer().url, home=home, ledger=True) as client,
        pytest.raises(ServerError, match="no miner has been here yet") as caught,
    ):
        client.execute_workflow(CustomTask("txt2vid", {"prompt": "x"}))
    assert (caught.value.sent, "charged" in str(caught.value)) == ("no", False)
    with Ledger(home) as ledger:
        assert [record.state for record in records_of(ledger)] == ["refused"]


def test_what_no_miner_can_run_is_refused_with_what_they_can(sequencer):
    server = sequencer()
    server.miner("txt2vid.1", "upscaler")
    for name in ("txt2vid.2", "txt2vid", "sticker"):
        assert "txt2vid.1, upscaler" in refused(server, name, {"prompt": "x"})


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"prompt": "x", "steps": 10}, "steps is 10"),
        ({"prompt": "x", "steps": 1.5}, "steps is 1.5"),
        ({"prompt": "x", "steps": "many"}, "1 to 9"),
        ({"prompt": "x", "quality": 80}, "does not take quality"),
        ({"prompt": "x", "quality": 80}, "It takes: prompt, steps"),
        ({"steps": 5}, "needs a value for prompt"),
        ({"prompt": ["x"]}, "prompt is ['x']"),
    ],
)
def test_parameters_that_no_miner_takes_are_refused(sequencer, parameters, said):
    server = sequencer()
    server.miner("txt2vid.1")
    assert said in refused(server, "txt2vid.1", parameters)
    assert server.rows("SELECT count(*) FROM tasks") == [(0,)]


@pytest.mark.parametrize(
    "change",
    [
        {"task_type": None},
        {"task_type": "../etc"},
        {"task_type": ["txt2vid"]},
        {"workflow_id": "1/../2"},
        {"workflow_id": 1},
        {"task_details": None},
        {"task_details": {"parameters": [1]}},
        {"timeout_seconds": -1},
        {"job_id": None},
    ],
    ids=str,
)
def test_bodies_that_make_no_sense_are_refused(sequencer, change):
    server = sequencer()
    server.miner("txt2vid.1")
    answer = server.try_create("txt2vid", {"prompt": "x"}, **{"workflow_id": "1", **change})
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"]


def test_capabilities_are_remembered_when_the_miner_is_gone_and_over_a_restart(sequencer):
    first = sequencer()
    first.miner("txt2vid.1")
    made = first.try_create("txt2vid", {"prompt": "x"}, workflow_id="1").json()
    assert made["msg"] == "queued in the sequencer"
    first.advance(3600)
    made = first.try_create("txt2vid", {"prompt": "x"}, workflow_id="1").json()
    assert "no miner that runs this with these values is connected" in made["msg"]
    assert first.query(made["task_id"])["status"] == "waiting"
    first.stop()
    second = sequencer(now=first.clock.now)
    assert second.query(second.make("txt2vid.1"))["status"] == "waiting"
    assert "steps is 10" in refused(second, "txt2vid.1", {"prompt": "x", "steps": 10})


def test_a_miner_that_registers_anew_can_run_only_what_it_announces_then(sequencer):
    server = sequencer()
    miner = server.miner("txt2vid.1")
    miner.workflows = [workflow("upscaler.2")]
    assert miner.register().status_code == 200
    assert "offered are: upscaler.2" in refused(server, "txt2vid.1", {"prompt": "x"})


def test_a_task_goes_to_a_miner_that_takes_its_parameters(sequencer):
    server = sequencer()
    fox, hare = server.miner(with_loras("fox.safetensors")), server.miner(with_loras("hare.safetensors"))
    wanted = server.make("txt2img.3", lora_name="hare")
    other = server.make("txt2img.3", lora_name="fox")
    assert fox.take()["task_id"] == other
    assert hare.take()["task_id"] == wanted
    assert "lora_name is 'wolf'" in refused(server, "txt2img.3", {"lora_name": "wolf"})


def test_a_job_id_makes_one_task_even_when_its_miner_is_gone(sequencer):
    server = sequencer()
    miner = server.miner("txt2vid.1")
    once = {"job_id": "sdk-workflow-1"}
    task_id = server.make(more=once)
    miner.workflows = [workflow("upscaler")]
    miner.register()
    assert server.make(more=once) == task_id


@pytest.fixture
def folder(tmp_path):
    """A folder with one workflow, txt2vid.7."""
    found = tmp_path / "workflows"
    found.mkdir()
    nodes = {"1": {"class_type": "SaveImage", "inputs": {}, "_meta": {"title": "output"}}}
    (found / "txt2vid.7.json").write_text(json.dumps(nodes))
    return found


def test_the_folder_of_workflows_goes_to_miners_and_its_names_are_accepted(sequencer, folder):
    server = sequencer(workflows=folder)
    task_id = server.make("txt2vid.7", prompt="x")
    assert "offered are: txt2vid.7" in refused(server, "txt2vid.1", {"prompt": "x"})
    miner = server.miner("txt2vid.7")
    given = miner.post("miner_workflows", {"erc20_address": miner.name}).json()["workflows"]
    assert given == {"txt2vid.7.json": json.loads((folder / "txt2vid.7.json").read_text())}
    assert miner.take()["task_id"] == task_id


def test_a_task_that_turns_out_not_to_be_allowed_fails_and_says_why(sequencer, folder):
    server = sequencer(workflows=folder)
    wrong, right = server.make("txt2vid.7", prompt="x", steps=77), server.make("txt2vid.7", prompt="x")
    miner = server.miner("txt2vid.7")
    state = server.query(wrong)
    assert state["status"] == "failed"
    assert "steps is 77" in state["msg"]
    assert miner.take()["task_id"] == right


def test_without_a_folder_there_are_no_workflow_files(sequencer):
    server = sequencer()
    miner = server.miner()
    assert miner.post("miner_workflows", {"erc20_address": miner.name}).json() == {"workflows": {}}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"erc20_address": ""}, 400),
        ({"erc20_address": "x" * 101}, 400),
        ({"erc20_address": "a\nb"}, 400),
        ({"erc20_address": None}, 400),
        ({"instance": None}, 400),
        ({"instance": "../x"}, 400),
        ({"workflows": None}, 400),
        ({"workflows": [{"task_type": "a/b"}]}, 400),
        ({"workflows": [{"task_type": "ok", "parameters": [{"name": "x", "kind": "magic"}]}]}, 400),
        ({"software": "new"}, 200),
        ({"anything": {"else": 1}}, 200),
    ],
    ids=str,
)
def test_what_a_miner_registers_with_is_checked(sequencer, change, status):
    server = sequencer()
    miner = server.miner(register=False)
    body = {"erc20_address": miner.name, "instance": "0a", "workflows": [workflow("txt2vid.1")], **change}
    answer = miner.post("miner_register", body)
    assert answer.status_code == status, answer.text


def test_a_create_says_when_only_a_miner_that_is_gone_takes_the_values(sequencer):
    server = sequencer()
    server.miner(with_loras("fox.safetensors"))
    server.advance(31)
    server.miner(with_loras("hare.safetensors"))
    more = {"workflow_id": "3"}
    assert server.try_create("txt2img", {"lora_name": "hare"}, **more).json()["msg"] == "queued in the sequencer"
    assert "with these values" in server.try_create("txt2img", {"lora_name": "fox"}, **more).json()["msg"]


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ([{"task_type": "txt2vid", "workflow_id": "1", "msg": "node 3:\x1b[31m\nWanSampler is missing"}], True),
        ([5, {"task_type": "txt2vid", "workflow_id": ["1"], "msg": "x"}, {"task_type": [], "msg": "x"}], False),
        ([{"task_type": "txt2vid", "workflow_id": "2", "msg": "of another"}], False),
        ([{"task_type": "txt2vid", "workflow_id": "1", "msg": 5}], False),
        ("txt2vid.1", False),
        (None, False),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_known", [True, False])
def test_what_the_connected_miners_lack_is_said_in_the_first_answer(sequencer, left_out, said, is_known):
    """Where a miner that had the workflow is gone, the task waits; else its create is refused."""
    server = sequencer()
    if is_known:
        server.miner("txt2vid.1")
        server.advance(3600)
    server.miner("upscaler", name="box", register=False).register(left_out=left_out)
    answer = server.try_create("txt2vid", {"prompt": "x"}, workflow_id="1")
    what = "the miner box left it out: node 3: [31m WanSampler is missing"
    named = server.post("resource_request", consumer_id="c", task_type="txt2vid", workflow_id="1")
    assert (named.status_code, what in named.json()["message"]) == (503 if is_known else 400, said)
    if not is_known:
        assert (answer.status_code, what in answer.json()["message"]) == (400, said)
        return
    made = answer.json()
    query = {"task_id": made["task_id"], "wait_seconds": 25, "after": made["revision"]}
    for each in (made, server.post("task_result_query", **query).json()):  # The clock stands still.
        assert (what in each["msg"], "start one with" in each["msg"]) == (said, not said)


def test_a_request_for_any_miner_is_told_what_none_runs(sequencer):
    server = sequencer()
    lacking = [{"task_type": "txt2vid", "workflow_id": name, "msg": f"no model {name}"} for name in ("1", "2")]
    server.miner("upscaler", name="box", register=False).register(left_out=lacking)
    assert server.post("resource_request", consumer_id="c").json() == {
        "miner_id": "box",
        "left_out": [f"txt2vid.{each}: the miner box left it out: no model {each}" for each in ("1", "2")],
    }
    server.miner("txt2vid.1", name="other")
    assert len(server.post("resource_request", consumer_id="c").json()["left_out"]) == 1
    server.miner("txt2vid.2", name="third")
    assert "left_out" not in server.post("resource_request", consumer_id="c").json()


def test_of_very_many_that_none_runs_some_are_told(sequencer):
    server = sequencer()
    for box in range(2):
        lacking = [{"task_type": f"kind{box}", "workflow_id": str(each), "msg": "a model"} for each in range(500)]
        server.miner("upscaler", name=f"box{box}", register=False).register(left_out=lacking)
    assert len(server.post("resource_request", consumer_id="c").json()["left_out"]) == 100


def test_who_waits_is_told_what_a_miner_lacks_that_comes_later(sequencer, poll):
    server = sequencer()
    server.miner("txt2vid.1")
    server.advance(3600)
    task_id = server.make("txt2vid.1")
    query = {"task_id": task_id, "wait_seconds": 25, "after": server.query(task_id)["revision"]}

    def is_told():
        return "WanSampler is missing" in server.post("task_result_query", **query).json()["msg"]

    waiting = in_thread(poll, is_told)
    server.miner("upscaler", register=False).register(
        left_out=[{"task_type": "txt2vid", "workflow_id": "1", "msg": "WanSampler is missing"}]
    )
    server.advance(1)
    assert waiting.result(10)
