"""Throughput and memory of a batch on its way into a bucket, from tensors to the last byte stored.

Run from the repository's root, with the extras ``bucket`` and ``bucket-test`` and with torch:
``python -m benchmarks.upload [--images 64] [--side 2048] [--parallel 8] [--megabits 1000] [--kind photo]``.

The store is a process of its own that speaks as much of S3 as a PUT needs and throws the bytes away; ``--megabits`` is
its line, 0 for as fast as it can. Four things are measured, in turns: the encoder alone on all cores, obstore alone
with the same bytes, both at once with nothing else, and the pack, by the way that the nodes take. Prints the shares of
the slower of the first two that both at once reach and that the pack reaches, and the pack's peak of memory above the
batch. Both at once is what the cores and the line allow: where they are the limit, sending takes from the encoder.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import importlib.util
import multiprocessing
import os
import resource
import socket
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from .encode import pictures

ROOT = Path(__file__).resolve().parents[1]

# Linux does not even copy what is thrown away. A real store's work is done on another machine.
THROW_AWAY = socket.MSG_TRUNC if sys.platform == "linux" else 0


def serve(port: int, bits_per_second: float) -> None:
    """Take PUTs at that speed in all; say of everything else that it is not there."""
    lock = threading.Lock()
    free_at = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            nonlocal free_at
            left = int(self.headers.get("Content-Length") or 0)
            place = memoryview(bytearray(1 << 20))
            # What came with the head is in the file's buffer.
            left -= len(self.rfile.read1(left)) if left else 0
            while left:
                got = self.connection.recv_into(place, min(len(place), left), THROW_AWAY)
                if not got:
                    return
                left -= got
                if bits_per_second:
                    with lock:
                        free_at = max(free_at, time.monotonic() - 0.05) + got * 8 / bits_per_second
                        wait = free_at - time.monotonic()
                    if wait > 0:
                        time.sleep(wait)
            self._answer(200, b"")

        def do_GET(self) -> None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def do_DELETE(self) -> None:
            self._answer(204, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("ETag", '"x"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write no access log."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def load_pack() -> Any:
    """The pack under a name of its own, as ComfyUI loads it."""
    name = "pack_of_benchmark"
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return importlib.import_module(f"{name}.nodes.tensors"), importlib.import_module(f"{name}.xalora_client")


def encoded_alone(batch: Any, encode: Any) -> float:
    """Seconds to encode all on all cores, keeping nothing."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda image: len(encode(image)), batch):
            pass
    return time.perf_counter() - begun


def open_store(url: str) -> Any:
    """The store, by obstore."""
    store: Any = importlib.import_module("obstore.store")
    return store.S3Store(
        "b", endpoint=url, access_key_id="a", secret_access_key="s", region="r", client_options={"allow_http": True}
    )


async def stored_alone(content: bytes, count: int, parallel: int, url: str) -> float:
    """Seconds for obstore to store so many objects of these bytes."""
    obstore: Any = importlib.import_module("obstore")
    store = open_store(url)
    turns = asyncio.Semaphore(parallel)

    async def one(number: int) -> None:
        async with turns:
            await obstore.put_async(store, f"{number}.png", content, use_multipart=False)

    begun = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    return time.perf_counter() - begun


async def both_at_once(batch: Any, encode: Any, parallel: int, url: str) -> float:
    """Seconds to encode all on all cores while obstore stores what is encoded."""
    obstore: Any = importlib.import_module("obstore")
    store = open_store(url)
    turns, cores = asyncio.Semaphore(parallel), asyncio.Semaphore(os.cpu_count() or 1)

    async def one(number: int) -> None:
        async with turns:
            async with cores:
                content = await asyncio.to_thread(encode, batch[number])
            await obstore.put_async(store, f"{number}.png", content, use_multipart=False)

    begun = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(len(batch))))
    return time.perf_counter() - begun


async def packed(batch: Any, parallel: int, tensors: Any, sdk: Any) -> float:
    """Seconds for the pack, as the node Xalora Upscale does it."""
    with tempfile.TemporaryDirectory() as home:
        advanced = sdk.AdvancedOptions(images_at_once=parallel)
        client = sdk.AsyncClient(
            "consumer#benchmark-key", "http://127.0.0.1:9", home=home, ledger=True, advanced=advanced
        )
        tasks = [sdk.UpscalerTask(tensors.input_image(image, f"image {n}")) for n, image in enumerate(batch, 1)]
        begun = time.perf_counter()
        await asyncio.gather(*(client.upload_images(task) for task in tasks))
        took = time.perf_counter() - begun
        await client.close()
        return took


class Peak:
    """The most memory of this process above what it had at first, in bytes, looked at every 5 ms."""

    def __enter__(self) -> Peak:
        if sys.platform == "linux":  # What was freed before, and kept for later, must not hide what is taken now.
            ctypes.CDLL(None).malloc_trim(0)
        self.first = self.most = self._now()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.005):
            self.most = max(self.most, self._now())

    @staticmethod
    def _now() -> int:
        if sys.platform == "linux":
            return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--megabits", type=float, default=1000, help="the store's line, 0 for no limit (%(default)g)")
    parser.add_argument("--kind", choices=("photo", "noise", "drawing"), default="photo")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)  # Each image is converted in its own thread.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = multiprocessing.Process(target=serve, args=(port, arguments.megabits * 1e6), daemon=True)
    store.start()
    url = f"http://127.0.0.1:{port}"
    os.environ |= {
        "XALORA_BUCKET": "s3://b/images", "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "r",
    }  # fmt: skip
    tensors, sdk = load_pack()
    _ = sdk.AsyncClient  # Imports what a node has imported long before.
    one = torch.from_numpy(pictures(arguments.side)[arguments.kind].astype(np.float32) / 255)
    # Each image is another: the same one would be uploaded once.
    batch = one.repeat(arguments.images, 1, 1, 1)
    batch[:, 0, 0, 0] = torch.arange(arguments.images) / 255

    def encode(image: Any) -> bytes:
        return bytes(tensors.input_image(image, "the image").content())

    content = encode(batch[0])
    size = f"{arguments.images} {arguments.kind}s of {arguments.side} x {arguments.side}"
    print(f"{size}, {len(content) / 1e6:.1f} MB each as PNG; the batch has {batch.nbytes / 1e6:.0f} MB")
    print(f"{os.cpu_count()} cores, line {arguments.megabits:g} Mbit/s")
    bare, shares, above = [], [], []
    for turn in range(arguments.rounds):
        encoder = encoded_alone(batch, encode)
        alone = asyncio.run(stored_alone(content, arguments.images, arguments.parallel, url))
        both = asyncio.run(both_at_once(batch, encode, arguments.parallel, url))
        with Peak() as peak:
            pack = asyncio.run(packed(batch, arguments.parallel, tensors, sdk))
        bare.append(max(encoder, alone) / both)
        shares.append(max(encoder, alone) / pack)
        above.append((peak.most - peak.first) / 1e6)
        print(
            f"round {turn + 1}: encoder alone {encoder:.2f} s, obstore alone {alone:.2f} s, both at once {both:.2f} s "
            f"({bare[-1]:.2f} of the slower), pack {pack:.2f} s ({shares[-1]:.2f}), {above[-1]:.0f} MB above the batch"
        )
    print(
        f"median: both at once {statistics.median(bare):.2f} of the slower, pack {statistics.median(shares):.2f}; "
        f"at most {max(above):.0f} MB above the batch"
    )
    store.terminate()


if __name__ == "__main__":
    main()
