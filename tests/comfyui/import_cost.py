"""What loading the pack costs once ComfyUI has loaded all of its own; run by test_loading.py in ComfyUI's Python.

Arguments: ComfyUI's folder, and a base directory with packs in ``custom_nodes``. Each is loaded in a fork of its own,
several times: nothing of the pack is there yet, all of ComfyUI is. Prints one JSON object per pack and line: seconds
of wall and CPU of each load, the modules besides its own that it brought, what it logged or printed, and its nodes
after a load by ComfyUI's own function.
"""

import asyncio
import contextlib
import importlib.util
import io
import json
import logging
import os
import sys
import time
from pathlib import Path

ROUNDS = 9


def main() -> None:
    source, base = sys.argv[1:]
    sys.path.insert(0, source)
    sys.argv = ["main.py", "--cpu", "--disable-api-nodes", "--base-directory", base]
    import comfy.options

    comfy.options.enable_args_parsing()
    with contextlib.redirect_stdout(sys.stderr):
        import main  # noqa: F401, I001 - what ComfyUI's start loads, in its order
        import nodes
        import server

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        server.PromptServer(loop)
        asyncio.run(nodes.init_builtin_extra_nodes())
    sys.dont_write_bytecode = False
    for pack in sorted(Path(base, "custom_nodes").iterdir()):
        in_a_fork(lambda pack=pack: load(pack))  # Compiles.
        rounds = [in_a_fork(lambda pack=pack: load(pack)) for _ in range(ROUNDS)]
        told = in_a_fork(lambda pack=pack: load_as_comfyui(nodes, pack))
        times = {name: [each[name] for each in rounds] for name in ("wall", "cpu")}
        sys.stdout.write(json.dumps({"pack": pack.name, "others": rounds[0]["others"], **times, **told}) + "\n")


def load(pack: Path) -> dict:
    """Load as ComfyUI does, and nothing else."""
    name = str(pack).replace(".", "_x_")
    before = set(sys.modules)
    wall, cpu = time.perf_counter(), time.thread_time()
    spec = importlib.util.spec_from_file_location(name, pack / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    others = sorted(each for each in set(sys.modules) - before if not each.startswith(name))
    return {"wall": wall, "cpu": cpu, "others": others}


def load_as_comfyui(nodes, pack: Path) -> dict:
    """Load by ComfyUI's own function and look at what it says and has then."""
    log = []
    handler = logging.Handler()
    handler.emit = lambda record: log.append(f"{record.name}: {record.getMessage()}")
    logging.getLogger().addHandler(handler)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        loaded = asyncio.run(nodes.load_custom_node(str(pack)))
    ours = [name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("Xalora")]
    return {"loaded": loaded, "log": log, "printed": printed.getvalue(), "nodes": ours}


def in_a_fork(work) -> dict:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "w") as pipe:
            json.dump(work(), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = json.load(pipe)
    os.waitpid(child, 0)
    return answer


main()
