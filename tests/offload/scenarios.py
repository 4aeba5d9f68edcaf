"""The faults: each begins tasks, breaks something in their middle, and makes it whole again."""

from __future__ import annotations

import signal
from functools import partial

from tests.offload.scene import Fault, Scene
from tests.offload.world import PATIENCE, CutNetwork, SmallDisk, poll, why_no_small_disk

UPLOAD, SUBMIT, CREATE = "PUT /miner_upload/", "POST /miner_submit", "POST /task_create"


def kill_miner(scene: Scene) -> None:
    scene.begin_and_work().miner.kill()


def kill_comfyui(scene: Scene) -> None:
    scene.begin_and_work().comfyui.kill()


def kill_comfyui_for_long(scene: Scene) -> None:
    """Longer than a miner believes that it is only busy."""
    scene.begin_and_work().comfyui.kill(pause=8)


def kill_sequencer_while_waiting(scene: Scene) -> None:
    scene.begin_and_work(tasks=3)
    poll(lambda: sorted(row["status"] for row in scene.rows()) == ["running", "waiting", "waiting"], what="all created")
    scene.world.sequencer.kill()


def kill_sequencer_while_running(scene: Scene) -> None:
    scene.begin_and_work()
    scene.world.sequencer.kill(pause=0.5)


def kill_sequencer_while_uploading(scene: Scene) -> None:
    scene.box.network.freeze_within(UPLOAD)
    scene.begin()
    _caught(scene.box.network)
    scene.world.sequencer.kill()
    scene.box.network.mend()


def break_off_upload(scene: Scene) -> None:
    scene.box.network.freeze_within(UPLOAD)
    scene.begin()
    _caught(scene.box.network)
    scene.box.network.tear()
    scene.sleep(1)
    scene.box.network.mend()


def submit_twice(scene: Scene) -> None:
    before = scene.box.network.passed[SUBMIT]
    scene.box.network.drop_answer(SUBMIT)
    scene.begin()
    _caught(scene.box.network)
    poll(lambda: scene.box.network.passed[SUBMIT] == before + 2, PATIENCE, "the same submit again")
    scene.begin()  # Which its miner begins only when the second answer has come.
    scene.results()
    assert "did not accept its outcome" not in scene.box.miner.running.errors()


def lose_answer_of_create(scene: Scene) -> None:
    scene.world.client_network.drop_answer(CREATE)
    scene.begin()
    _caught(scene.world.client_network)


def freeze_miners_line(scene: Scene, seconds: float = 5) -> None:
    scene.begin_and_work()
    _cut(scene, scene.box.network, "freeze", seconds)


def tear_miners_line(scene: Scene, seconds: float = 5) -> None:
    scene.begin_and_work()
    _cut(scene, scene.box.network, "tear", seconds)


def freeze_clients_line(scene: Scene, seconds: float = 5) -> None:
    scene.begin_and_work()
    _cut(scene, scene.world.client_network, "freeze", seconds)


def tear_clients_line(scene: Scene, seconds: float = 5) -> None:
    scene.begin_and_work()
    _cut(scene, scene.world.client_network, "tear", seconds)


def submit_after_the_end(scene: Scene) -> None:
    """A miner stands still until another one has finished its task."""
    box = scene.begin_and_work()
    miner = box.miner.running.process
    miner.send_signal(signal.SIGSTOP)
    try:
        scene.results()
        before = scene.rows()
    finally:
        miner.send_signal(signal.SIGCONT)
    box.miner.running.said("lost, so it is stopped|did not accept its outcome")
    assert scene.rows() == before, "the late submit changed something"


def submit_while_another_works(scene: Scene) -> None:
    """A miner stands still until another one has begun its task."""
    box = scene.begin_and_work()
    others = [each for each in scene.world.boxes if each is not box]
    box.miner.running.process.send_signal(signal.SIGSTOP)
    try:
        poll(lambda: any(each.is_working() for each in others), PATIENCE, "another miner works")
    finally:
        box.miner.running.process.send_signal(signal.SIGCONT)
    box.miner.running.said("lost, so it is stopped|did not accept its outcome")


def fill_disk(scene: Scene) -> None:
    """The result finds no place at the sequencer."""
    disk = SmallDisk(scene.world.sequencer.running.folder / "data")
    box = scene.begin_and_work()
    disk.fill()
    try:
        box.miner.running.said("disk is full")
    finally:
        disk.free()


def _cut(scene: Scene, network: CutNetwork, how: str, seconds: float) -> None:
    getattr(network, how)()
    scene.sleep(seconds)
    network.mend()


def _caught(network: CutNetwork) -> None:
    assert network.caught.wait(PATIENCE), "the request did not come"


_NO_STOP = "" if hasattr(signal, "SIGSTOP") else "processes cannot be made to stand still here"

FAULTS = [
    # Its ComfyUI works on until the next miner stops it, which may be too late to.
    Fault("miner killed in a task", kill_miner, most_runs=2),
    Fault("ComfyUI killed in a task", kill_comfyui),
    Fault("ComfyUI killed in a task, gone for 8 s", kill_comfyui_for_long, by_hand=True),
    Fault("sequencer killed, tasks wait", kill_sequencer_while_waiting),
    Fault("sequencer killed, task runs", kill_sequencer_while_running),
    Fault("sequencer killed in an upload", kill_sequencer_while_uploading),
    Fault("upload broken off in the middle", break_off_upload),
    Fault("submit answered twice", submit_twice),
    Fault("create answered into nothing", lose_answer_of_create),
    Fault("miner's line frozen for 5 s", freeze_miners_line),
    Fault("miner's line torn for 5 s", tear_miners_line),
    Fault("miner's line frozen for 60 s", partial(freeze_miners_line, seconds=60), by_hand=True),
    Fault("miner's line torn for 60 s", partial(tear_miners_line, seconds=60), by_hand=True),
    Fault("client's line frozen for 5 s", freeze_clients_line),
    Fault("client's line torn for 5 s", tear_clients_line),
    Fault("client's line frozen for 60 s", partial(freeze_clients_line, seconds=60), by_hand=True),
    Fault("client's line torn for 60 s", partial(tear_clients_line, seconds=60), by_hand=True),
    Fault("submit of a lost attempt, after the end", submit_after_the_end, most_runs=2, boxes=2, missing=_NO_STOP),
    Fault(
        "submit of a lost attempt, another works",
        submit_while_another_works, most_runs=2, boxes=2, missing=_NO_STOP, by_hand=True,
    ),
    Fault("sequencer's disk full", fill_disk, has_small_disk=True, missing=why_no_small_disk()),
]  # fmt: skip
