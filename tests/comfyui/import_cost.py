"""What loading the pack costs once ComfyUI has loaded all of its own; run by test_loading.py in ComfyUI's Python.

Arguments: ComfyUI's folder, a base directory with the packs in ``custom_nodes``, and the folder names. Each is loaded
by ComfyUI's own function, several times, in a fork of its own each time: nothing of the pack is loaded there yet.
Prints one JSON object: per name the seconds of each load, the modules it brought, and what it logged or printed.
"""

import asyncio
import contextlib
import io
import json
import logging
import os
import sys
import time

ROUNDS = 7


def main() -> None:
    source, base, *names = sys.argv[1:]
    sys.path.insert(0, source)
    sys.argv = ["main.py", "--cpu", "--disable-api-nodes", "--base-directory", base]
    import comfy.options

    comfy.options.enable_args_parsing()
    with contextlib.redirect_stdout(sys.stderr):
        import main as _main  # noqa: F401 - as ComfyUI starts
        import nodes
        import server

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        server.PromptServer(loop)
        asyncio.run(nodes.init_builtin_extra_nodes())
    answer = {}
    for name in names:
        rounds = [_in_a_fork(lambda name=name: _load(nodes, os.path.join(base, "custom_nodes", name)))]
        rounds += [_in_a_fork(lambda name=name: _load(nodes, os.path.join(base, "custom_nodes", name))) for _ in range(ROUNDS)]
        answer[name] = rounds[-1] | {"seconds": [each["seconds"] for each in rounds[1:]]}
    print(json.dumps(answer))


def _load(nodes, folder):
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(f"{record.name}: {record.getMessage()}")
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    printed = io.StringIO()
    before = set(sys.modules)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        began = time.perf_counter()
        loaded = asyncio.run(nodes.load_custom_node(folder))
        seconds = time.perf_counter() - began
    others = sorted(name for name in set(sys.modules) - before if not name.startswith(folder.replace(".", "_x_")))
    known = [name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("Xalora")]
    return {
        "loaded": loaded, "seconds": seconds, "others": others, "log": records, "printed": printed.getvalue(),
        "nodes": known,
    }  # fmt: skip


def _in_a_fork(work):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with os.fdopen(writing, "w") as pipe:
                json.dump(work(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = json.load(pipe)
    os.waitpid(child, 0)
    return answer


main()
