"""What a consumer with a key tries with images, uploads and results."""

from __future__ import annotations

import base64
import hashlib
import itertools
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cache, partial
from urllib.parse import urlsplit

import requests

from tests.hostile.before_any_key import RIGHT
from tests.hostile.world import MINER_KEY, Attack, World, head
from tests.support.bombs import BOMBS, gif
from tests.support.fake_miner import IMAGE, FakeMiner, workflow
from tests.support.pictures import noise, png

NUMBERS = (
    "127.1",
    "0177.1",
    "0x7f.1",
    "2130706433",
    "00.0",
    "127.0.0.01",
    "169.254.43518",
    "①②⑦.⓪",
    "1.1.1.1.",
    "1%2e1",
)
INSIDE = ("127.0.0.1", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2606:4700::5efe:7f00:1]", "localhost", "[::1]")
_numbers = itertools.count()


def image_miner(world: World) -> FakeMiner:
    """A miner that takes images."""
    return FakeMiner(world.url, workflow("upscaler", IMAGE), name="upscaling", instance="0" * 8, key=MINER_KEY)


def create(world: World, image: str) -> requests.Response:
    image_miner(world)
    return world.post(
        "task_create",
        task_type="upscaler", job_id=f"image-{next(_numbers)}", task_details={"parameters": {"image": image}},
    )  # fmt: skip


def large_body(uri: bytes) -> bytes:
    """A create with this ``data:`` URI, as it is."""
    parameters = b'{"parameters": {"image": "%s"}}' % uri
    return b'{%s, "job_id": "%d", "task_type": "upscaler", "task_details": %s}' % (RIGHT, next(_numbers), parameters)


@cache
def large_picture() -> bytes:
    return base64.b64encode(noise(1, 4300))


def with_large(world: World, make: Callable[[], bytes], count: int = 1) -> str:
    """So many creates with this ``data:`` URI, all at once."""
    image_miner(world)
    uri = b"data:image/png;base64," + make()

    def one(_: int) -> str:
        body = large_body(uri)
        return world.raw(head("task_create", length=len(body)), body, patience=120)

    with ThreadPoolExecutor(count) as pool:
        return " ".join(sorted(set(pool.map(one, range(count)))))


def with_image(world: World, image: str) -> str:
    """How a create with this image is answered; if it is taken, how its task ends."""
    answer = create(world, image)
    if answer.status_code != 200:
        return str(answer.status_code)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        state = world.post("task_result_query", task_id=answer.json()["task_id"]).json()
        if state["status"] != "waiting" or image_miner(world).ask() != {"msg": "no task at the moment"}:
            return str(state["status"])
        time.sleep(0.05)
    return "waiting"


def data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def announce(world: World, content: bytes) -> str:
    """The address where it is uploaded."""
    sha256 = hashlib.sha256(content).hexdigest()
    answer = world.post("image_upload", sha256=sha256, size=len(content), content_type="image/png")
    return str(answer.json()["upload_url"])


def uploaded(world: World, content: bytes) -> str:
    return str(requests.put(announce(world, content), data=content, timeout=30).status_code)


def announcements(world: World, count: int, size: int) -> str:
    answers = Counter[int]()
    for _ in range(count):
        sha256 = f"{next(_numbers):064x}"
        answers[world.post("image_upload", sha256=sha256, size=size, content_type="image/png").status_code] += 1
        if answers[429] > 20:
            break
    return "refused" if answers[429] else f"{count} were taken"


def begun(world: World, urls: list[str], size: int, first: int, seconds: float) -> str:
    """Uploads that begin, and go on by a byte now and then; how many are still there in the end."""
    with ExitStack() as stack:
        senders = []
        for url in urls:
            sender = stack.enter_context(socket.create_connection(world.address, timeout=20))
            sender.sendall(head(urlsplit(url).path[1:], method="PUT", length=size, kind="image/png") + bytes(first))
            senders.append(sender)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for sender in senders:
                with suppress(OSError):
                    sender.send(b" ")
            time.sleep(0.2)
        going = 0
        for sender in senders:
            sender.setblocking(False)
            try:
                sender.recv(4096)
            except BlockingIOError:
                going += 1
            except OSError:
                pass
    return "few" if going <= 8 else f"{going} go on"


def to_one_address(world: World, count: int) -> str:
    content = noise(5)
    return begun(world, [announce(world, content)] * count, len(content), 70_000, 3)


def to_many_addresses(world: World, count: int) -> str:
    contents = [noise(1000 + number, 64) for number in range(count)]
    return begun(world, [announce(world, content) for content in contents], len(contents[0]), 5000, 3)


def results_to_one_address(world: World, count: int) -> str:
    url = world.task["credential"]["upload_url"]
    return begun(world, [url] * count, 2 * 2**30, 100_000, 3)


def slow_readers(world: World, count: int, at_once: int) -> str:
    """Many who read the same result, a little at a time."""
    task_id = world.create()
    miner, task = FakeMiner(world.url, "txt2vid.1", key=MINER_KEY), {}
    while task.get("task_id") != task_id:
        task = miner.take()
        if task["task_id"] != task_id:
            miner.finish(task)
    miner.finish(task, png() + bytes(20 * 2**20))
    path = urlsplit(world.post("task_result_query", task_id=task_id).json()["result"]).path
    received = 0
    with ExitStack() as stack:
        readers = [stack.enter_context(socket.socket()) for _ in range(count)]
        for reader in readers:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(world.address)
        for reader in readers:
            reader.sendall(head(path[1:], method="GET", length=0))
            reader.setblocking(False)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            for reader in readers:
                with suppress(BlockingIOError):
                    received += len(reader.recv(at_once))
            time.sleep(0.05)
    return "read" if received else "nothing"


def at_once(world: World, image: str, count: int) -> str:
    """Many tasks with an image, as fast as they are taken."""
    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(lambda _: create(world, image).status_code, range(count)))
    return " ".join(map(str, sorted(answers)))


def attacks() -> list[Attack]:
    """All of them."""
    gif_of_bytes = gif((1, 1), (0, 0, 1, 1))[:-1] + b"!\xfe" + b"\x01\x01" * 20_000_000
    images = {
        **{f"{name}, by data:": data_uri(content) for name, content in BOMBS.items() if "long text" not in name},
        "40 MB of blocks of a byte": data_uri(gif_of_bytes),
        "60 MB of percent signs": "data:image/png," + "%41" * 20_000_000,
        "60 MB of spaces": "data:image/png;base64," + "A " * 30_000_000,
        "60 MB of zeros": "data:," + "0" * 60_000_000,
    }
    found = [
        Attack(name, "a consumer", partial(with_image, image=image), "failed|400|413") for name, image in images.items()
    ]
    for host in NUMBERS + INSIDE:
        found.append(
            Attack(f"an image on {host}", "a consumer", partial(with_image, image=f"http://{host}:1/x.png"), "400")
        )
    for name in ("png", "apng", "gif of many frames", "webp of many frames", "jpeg"):
        found.append(Attack(f"{name}, uploaded", "a consumer", partial(uploaded, content=BOMBS[name]), "413"))
    large: dict[str, tuple[Callable[[], bytes], int, str]] = {
        "60 MB of escaped slashes": (lambda: b"\\/" * 30_000_000, 1, "400"),
        "60 MB of escaped letters": (lambda: b"\\u0041" * 10_000_000, 1, "400"),
        "60 MB of wrong bytes": (lambda: b"\xff" * 60_000_000, 1, "400"),
        "eight of 120 MB at once, with a key": (lambda: b"A" * 120_000_000, 8, "400|413"),
        "eight pictures of 74 MB at once": (large_picture, 8, "200"),
        "a picture of 74 MB with escapes": (lambda: large_picture().replace(b"/", b"\\/"), 1, "200"),
    }
    for name, (make, count, answer) in large.items():
        found.append(Attack(name, "a consumer", partial(with_large, make=make, count=count), answer))
    many, few = partial(slow_readers, count=300, at_once=1000), partial(slow_readers, count=300, at_once=1)
    bombs = partial(at_once, image=data_uri(BOMBS["gif of many frames"]), count=200)
    return [
        *found,
        Attack("300 slow readers of one result", "a consumer", many, "read"),
        Attack("300 readers of a byte at a time", "a consumer", few, "read"),
        Attack("100 uploads to one address", "a consumer", partial(to_one_address, count=100), "few"),
        Attack("100 uploads that drip", "a consumer", partial(to_many_addresses, count=100), "few"),
        Attack("100 results to one address", "a miner", partial(results_to_one_address, count=100), "few"),
        Attack("200 tasks with bombs", "a consumer", bombs, "200"),
        Attack(
            "images announced, of 128 MiB", "a consumer", partial(announcements, count=10_000, size=2**27), "refused"
        ),
        Attack("images announced, of a byte", "a consumer", partial(announcements, count=2000, size=1), "refused"),
    ]
