"""The command line's arguments. The flags of a task kind are made from its rules."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import ConfigurationError
from ..http import __version__
from ..protocol.answers import TaskStatus
from ..protocol.parameters import Number, Text, Whole
from ..protocol.tasks import USUAL_WORKFLOWS, FluxLoraTask, Text2VideoTask, UpscalerTask, WorkflowTask

DEFAULT_TIMEOUT = 900.0
USUAL_VIDEO = dict[str, float | str](width=848, height=480, length=37, steps=30, seed=0, fps=24, quality=80)
USUAL_IMAGE = dict[str, float | str](
    width=680, height=1024, guidance=3.5, steps=15, noise_seed=0, aspect_ratio="custom"
)
"""What servers use for a parameter that is not given, as the workflows that come with Xalora do."""

PROMPT_HELP = "what it shows; - reads it from standard input"
LOG, PROFILE = "XALORA_LOG", "XALORA_PROFILE"
STATES = ("open", "creating", "doubtful", "refused", *(status.value for status in TaskStatus))
SEQUENCER_KEYS, MINER_KEY = "XALORA_SEQUENCER_KEYS", "XALORA_MINER_KEY"


class _Parser(argparse.ArgumentParser):
    _typed: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Raise, so that ``main`` prints usage errors like any other, with the word that may have been meant."""
        wrong = re.search(r"(?:invalid choice: '|unrecognized arguments: )([^' =]+)", message)
        known = {str(word) for action in self._actions for word in (*action.option_strings, *(action.choices or ()))}
        # That something is missing may be because of how it was written.
        options = [word for word in self._typed if word.startswith("--") and word.partition("=")[0] not in known]
        words = [wrong[1]] if wrong else options[:1]
        near = [match for word in words for match in difflib.get_close_matches(word, known, 1)]
        raise ConfigurationError(
            message.partition(" (choose from")[0] if near else message,
            advice=f"{f'Did you mean {near[0]}? ' if near else ''}See `{self.prog} --help`.",
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is not known here: the command's own parser knows what may have been meant."""
        self._typed = [str(word) for word in args or ()]
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; ``command`` names the function that runs the command, as ``module.function``.

    Raises ConfigurationError on bad usage.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args([*words, "--help"] if words in ([], ["workflows"]) else words)
    wrong = None
    if "dry_run" in arguments and not (arguments.dry_run or arguments.no_wait or arguments.output):
        wrong = "-o, --no-wait or --dry-run is needed"
    if "prompts" in arguments:
        if (arguments.prompt is None) == (arguments.prompts is None):
            wrong = "Either a PROMPT or --prompts is needed"
        if arguments.prompts is not None:
            arguments.command = "batch.prompts"
    for name in ("at_once", "max_parallel", "limit"):
        if getattr(arguments, name, 1) < 1:
            wrong = f"--{name.replace('_', '-')} is {getattr(arguments, name)}, and 1 is the least"
    if wrong is not None:
        raise ConfigurationError(wrong, advice=f"See `{arguments.prog} --help`.")
    return arguments


def parser() -> argparse.ArgumentParser:
    """The parser of all commands. What only one needs is not imported, so that help comes at once."""
    parser = _Parser(
        prog="xalora",
        description="Run heavy work on Xalora's GPU miners.",
        epilog='Try it without an account: xalora text2video "a rabbit in the snow" -o rabbit.mp4 --sandbox',
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"xalora {__version__}")
    commands_of = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, command: str, help_text: str, example: str = "", group: Any = commands_of, kind: str = ""
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = group.add_parser(
            name,
            aliases=[kind] if kind else [],  # The protocol's name for the kind of task.
            help=help_text,
            description=help_text,
            epilog=example and f"example:\n  xalora {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,  # The example stays in one line.
            allow_abbrev=False,
        )
        added.set_defaults(command=command, prog=added.prog)
        added.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        added.add_argument(
            "--profile",
            metavar="NAME",
            type=_name,
            help=f"use the key, server and bucket stored under this name; the same as {PROFILE}",
        )
        added.add_argument("-q", "--quiet", action="store_true", help="print no progress")
        added.add_argument("-v", "--verbose", action="store_true", help=f"log what is done; the same as {LOG}=info")
        return added

    example = 'text2video "a rabbit in the snow" --length 37 -o rabbit.mp4'
    video = add(
        "text2video", "commands.known_task", "Make a video from a text.", example, kind=Text2VideoTask.type_name
    )
    _add_prompt(video)
    _add_parameters(video, Text2VideoTask, USUAL_VIDEO)
    _add_task_options(video, USUAL_WORKFLOWS[Text2VideoTask.type_name], "1 is Hunyuan, 2 is Mochi")
    _add_output(video, "FILE")
    video.set_defaults(result="video")

    example = "upscale photo.png drawing.jpg -o larger/"
    upscale = add("upscale", "batch.upscale", "Enlarge images.", example, kind=UpscalerTask.type_name)
    upscale.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="a file (PNG, JPEG, WebP, GIF, BMP, TIFF …), a folder of images, a pattern such as photos/*.png, "
        "or a URL that the miner can fetch",
    )
    upscale.add_argument("--max-parallel", type=int, default=8, metavar="N", help="images at once (%(default)s)")
    _add_task_options(upscale)
    _add_output(upscale, "FILE_OR_DIR")

    example = 'flux-lora "a gecko" --lora gecko.safetensors -o gecko.jpg'
    help_text = "Make an image from a text with Flux and a LoRA."
    flux = add("flux-lora", "commands.known_task", help_text, example, kind=FluxLoraTask.type_name)
    _add_prompt(flux)
    flux.add_argument(
        "--lora",
        dest="lora_name",
        metavar="NAME",
        required=True,
        help="file name on the miners; `xalora workflows list` shows them where the server tells",
    )
    _add_parameters(flux, FluxLoraTask, USUAL_IMAGE)
    _add_task_options(flux, USUAL_WORKFLOWS[FluxLoraTask.type_name], "3 is Flux LoRA")
    _add_output(flux, "FILE_OR_DIR")
    flux.set_defaults(result="picture")

    example = 'run --task-type txt2vid --workflow-id 1 --param prompt="a rabbit" --param length=5 -o rabbit.mp4'
    run = add("run", "commands.run", "Run any other workflow.", example)
    run.add_argument("--task-type", required=True, metavar="T", help="such as txt2vid; see `xalora workflows list`")
    run.add_argument(
        "--param", dest="parameters", type=_parameter, action="append", default=[], metavar="K=JSON",
        help='a parameter, such as steps=30 or prompt="a rabbit"; what is not JSON is taken as text',
    )  # fmt: skip
    run.add_argument(
        "--text", dest="parameters", type=_text, action="append", metavar="K=VALUE",
        help="a parameter that is a text, also where it looks like JSON, such as prompt=2001",
    )  # fmt: skip
    _add_task_options(run)
    _add_output(run, "FILE_OR_DIR")

    status = add("status", "watch.status", "Show the status of tasks.")
    fetch = add("fetch", "commands.fetch", "Wait for a task and download its result.")
    cancel = add("cancel", "commands.cancel", "Cancel a task.")
    status.add_argument("task_ids", metavar="ID", nargs="+")
    _add_watch(status, "show each change, until every task has ended; stopping it cancels nothing")
    for command in (fetch, cancel):
        command.add_argument("task_id", metavar="ID")
    for command in (status, fetch, cancel):
        _add_sandbox(command)
    _add_timeout(fetch)
    fetch.add_argument(
        "-o", "--output", default="./", metavar="FILE_OR_DIR", help="where it goes (here, named by the task's id)"
    )

    tasks = add("tasks", "watch.tasks", "List the tasks submitted from here, newest first.")
    tasks.add_argument("--limit", type=int, default=50, metavar="N", help="how many (%(default)s)")
    tasks.add_argument(
        "--state", choices=STATES, metavar="S", help=f"only those in this state: {', '.join(STATES)} (all but an end)"
    )
    either = tasks.add_mutually_exclusive_group()
    _add_watch(either, "then show each change of those that are open, until all have ended")
    _add_sandbox(tasks)
    either.add_argument("--forget", metavar="ID", help="remove a task from the list; it is charged again next time")

    prune = add("prune", "housekeeping.prune", "Remove the least recently used downloaded media.")
    prune.add_argument("--bucket", action="store_true", help="instead, remove what earlier runs left in the bucket")
    prune.add_argument(
        "--older-than",
        type=float,
        default=8.0,
        metavar="DAYS",
        help="with --bucket: also what others left, if it is older (%(default)g)",
    )
    repair = add("repair", "housekeeping.repair", "Save what can be read of a damaged ledger, and name what cannot.")
    for command in (prune, repair):
        command.add_argument(
            "--home",
            type=Path,
            metavar="DIR",
            help="a folder other than the command line's own: for ComfyUI, the one that its settings show",
        )
    prune.add_argument("--budget", type=float, metavar="GB", help="what may stay (as in the settings, else 5)")

    login = add("login", "setup.login", "Store an API key, or a bucket's, readable by you alone.")
    login.add_argument("--url", metavar="URL", help="store the server's address with the key")
    login.add_argument(
        "--bucket", metavar="ADDRESS", help="store a bucket for images, such as s3://name/prefix, and ask for its key"
    )

    doctor = add("doctor", "setup.doctor", "Try each part of the setup, and say what to do where one does not work.")
    _add_sandbox(doctor)

    sandbox = add("sandbox", "servers.sandbox", "Run a local sequencer that renders previews, to try things out.")
    sandbox.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    sandbox.add_argument("--port", type=int, default=8787, help="0 takes any free port (%(default)s)")
    sandbox.add_argument("--data", type=Path, metavar="DIR", help="where tasks and media are kept (in XALORA_HOME)")
    sandbox.add_argument("--workers", type=int, default=2, metavar="N", help="renders at once (%(default)s)")
    sandbox.add_argument(
        "--render-seconds", type=float, default=0.0, metavar="S", help="shortest time a render takes (%(default)g)"
    )
    sandbox.add_argument(
        "--fail", type=float, default=0.0, metavar="P",
        help="share of the tasks that fail, 0 to 1, to try that out; those with [fail] in their prompt fail anyway (0)",
    )  # fmt: skip
    sandbox.add_argument("--video-format", choices=("mp4", "webp"), default="mp4", help="(%(default)s)")

    example = "sequencer --data sequencer --host 0.0.0.0 --comfyui http://127.0.0.1:8188"
    sequencer = add("sequencer", "servers.sequencer", "Hand tasks to miners on your own GPUs.", example)
    _add_sequencer(sequencer)

    example = "miner --sequencer http://192.168.1.5:8787 --comfyui http://127.0.0.1:8188"
    miner = add("miner", "servers.miner", "Run a sequencer's tasks on your ComfyUI.", example)
    miner.add_argument("--sequencer", required=True, metavar="URL", help="where `xalora sequencer` listens")
    _add_comfyui(miner, required=True)
    miner.add_argument(
        "--workflows", type=Path, metavar="DIR",
        help="workflow files to run; else those that come with Xalora",
    )  # fmt: skip
    miner.add_argument(
        "--accept-workflows", action="store_true",
        help="run the sequencer's workflow files; they can do anything that ComfyUI can do on this machine",
    )  # fmt: skip
    miner.add_argument("--name", metavar="N", help="what the sequencer shows (this machine's name)")

    help_text = "List the workflows that the server offers; check a miner's workflow files, or copy Xalora's."
    workflows = commands_of.add_parser("workflows", help=help_text, description=help_text, allow_abbrev=False)
    group = workflows.add_subparsers(metavar="list|check|copy", required=True)
    help_text = "Show what the server's miners run now: parameters, LoRAs and other choices, models."
    listing = add("list", "workflow_files.list_available", help_text, "workflows list --json", group)
    _add_sandbox(listing)
    example = "workflows check my-workflows --comfyui http://127.0.0.1:8188"
    help_text = "Show what each workflow takes, and what is wrong with it."
    check = add("check", "workflow_files.check", help_text, example, group)
    check.add_argument("folder", type=Path, metavar="DIR", help="a folder of <task_type>.<workflow_id>.json files")
    check.add_argument("--comfyui", metavar="URL", help="compare with this ComfyUI, such as http://127.0.0.1:8188")
    help_text = "Copy the workflows that come with Xalora, to change them."
    copy = add("copy", "workflow_files.copy", help_text, "workflows copy my-workflows --small", group)
    copy.add_argument("folder", type=Path, metavar="DIR", help="where they go")
    copy.add_argument("--small", action="store_true", help="those that need no model and run on a CPU, for trying out")

    example = "completion bash > ~/.local/share/bash-completion/completions/xalora"
    completion = add(
        "completion", "setup.completion", "Print what makes a shell complete commands and options.", example
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="bash|zsh|fish")
    return parser


def _add_sequencer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="where tasks and results are kept")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8787, help="0 takes any free port (%(default)s)")
    parser.add_argument(
        "--api-key", action="append", metavar="C#K",
        help=f"a consumer's key, several times for several; better in {SEQUENCER_KEYS}, separated by spaces, "
        "because arguments can be seen by other users of this machine",
    )  # fmt: skip
    parser.add_argument(
        "--miner-key", action="append", metavar="[NAME=]K",
        help=f"what miners must present, or the one of that name; several times for several; better in {MINER_KEY}",
    )  # fmt: skip
    parser.add_argument(
        "--backup",
        type=Path,
        metavar="FILE",
        help="instead of serving, copy the database into a new file, also of one in use",
    )
    parser.add_argument(
        "--recover", action="store_true", help="instead of serving, save what can be read of a damaged database"
    )
    _add_comfyui(parser, required=False)
    parser.add_argument(
        "--workflows", type=Path, metavar="DIR", help="workflow files for miners with --accept-workflows"
    )
    parser.add_argument(
        "--allow-private-images", action="store_true",
        help="fetch images also from private networks and from this machine",
    )  # fmt: skip
    parser.add_argument(
        "--public-url", metavar="URL", help="how others reach it through a proxy, such as https://gpu.example.com"
    )
    parser.add_argument(
        "--trusted-proxy", action="append", metavar="ADDRESS[/BITS]", help="a proxy whose X-Forwarded-* are believed"
    )
    parser.add_argument("--metrics-open", action="store_true", help="/metrics without the token, for scrapers")
    parser.add_argument(
        "--max-waiting",
        type=int,
        metavar="N",
        help="tasks of one consumer that may wait; more are refused (20000)",
    )
    parser.add_argument("--budget", type=float, default=20.0, metavar="GB", help="results that are kept (%(default)g)")


def _add_comfyui(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--comfyui", action="append", required=required, metavar="URL",
        help="a ComfyUI that runs tasks, such as http://127.0.0.1:8188; several times for several",
    )  # fmt: skip


def _add_parameters(
    parser: argparse.ArgumentParser, task_class: type[WorkflowTask], usual: Mapping[str, float | str]
) -> None:
    parser.set_defaults(task_class=task_class)
    for name, rule, required in task_class.rules():
        if not required:
            kind = int if isinstance(rule, Whole) else float if isinstance(rule, Number) else str
            flag = f"--{name.replace('_', '-')}"
            allowed = "" if isinstance(rule, Text) else f": {rule.allowed}"
            text = f"{rule.help}{allowed} (the server's, usually {usual[name]})"
            parser.add_argument(flag, dest=name, type=kind, metavar=kind.__name__.upper(), help=text)


def _add_prompt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help=PROMPT_HELP)
    parser.add_argument(
        "--prompts", metavar="FILE",
        help="a task for each line of a file, or of standard input for -: a prompt, or a JSON object of parameters",
    )  # fmt: skip
    parser.add_argument(
        "--at-once", type=int, default=4, metavar="N", help="with --prompts: tasks at once (%(default)s)"
    )


def _add_watch(parser: argparse._ActionsContainer, help_text: str) -> None:
    parser.add_argument("--watch", action="store_true", help=help_text)


def _add_task_options(parser: argparse.ArgumentParser, workflow_id: str | None = None, known: str = "") -> None:
    default = f": {known} (%(default)s)" if workflow_id else " (that without an id)"
    parser.add_argument("--workflow-id", default=workflow_id, metavar="W", help=f"the server's workflow{default}")
    parser.add_argument(
        "--timeout-seconds",
        type=int,
        metavar="S",
        help="time the sequencer gives the task (as long as the server says)",
    )
    parser.add_argument(
        "--reuse",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="reuse a task or result with exactly these inputs instead of paying for it again (on)",
    )
    _add_timeout(parser)
    _add_sandbox(parser)


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT,
        metavar="S",
        help="time to wait here; after that the task goes on, and fetch collects it (%(default)g: longer than "
        "a program's 300, as somebody watches)",
    )


def _add_sandbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sandbox", action="store_true", help="use the local sandbox: no account, previews only")


def _add_output(parser: argparse.ArgumentParser, metavar: str) -> None:
    parser.add_argument("--dry-run", action="store_true", help="send nothing: show what would be sent, and what reused")
    group = parser.add_mutually_exclusive_group()
    # As typed: a Path would not keep the slash at its end.
    group.add_argument("-o", "--output", metavar=metavar, help="where the result goes")
    group.add_argument("--no-wait", action="store_true", help="print the task's id at once; `xalora fetch` collects it")


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def _text(text: str, form: str = "K=VALUE") -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form {form}")
    return name, value


def _parameter(text: str) -> tuple[str, Any]:
    name, value = _text(text, "K=JSON")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
