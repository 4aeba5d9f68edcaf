"""The messages of errors: for each code, what happened and what to do next.

``what`` says what happened, where the code alone decides that; otherwise the error has its own text. A user of ComfyUI
reads ``plain`` in its place, and the text for experts on demand. The advice says what to do next. It depends on where
it is read: a program's author sets environment variables, a user of ComfyUI has a dialog. ``{name}`` is replaced by one
of the error's ``params``; ``{SERVER}``, ``{KEY}`` and ``{BUCKET}`` by the name of that setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Surface = Literal["library", "command", "nodes"]
"""Where a message is read."""

LIBRARY: Final = "library"
COMMAND: Final = "command"
NODES: Final = "nodes"


@dataclass(frozen=True)
class Message:
    """The texts for one code. ``library`` and ``nodes`` are only given where ``advice`` does not fit there."""

    advice: str
    what: str = ""
    plain: str = ""
    library: str | None = None
    nodes: str | None = None


_SETTINGS = "Settings → Xalora"
_VARIABLES = {"SERVER": "XALORA_WORKFLOW_URL", "KEY": "XALORA_API_KEY (consumer#key)", "BUCKET": "XALORA_BUCKET"}
_DIALOG = {name: f"the {name.lower()} in {_SETTINGS}" for name in _VARIABLES}
"""The names of the settings outside ComfyUI, and in it."""

_UNREACHABLE = Message("Check the network, proxy and {SERVER}, then try again.")

_S3_KEYS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL for storage other than Amazon's){login}; "
    "the key must be allowed to read, write and delete there."
)
_OR_LOGIN = ", or run `xalora login --bucket`"
_PROFILE = "Check AWS_PROFILE and the profile in ~/.aws/config; after a login by SSO has ended, run `aws sso login`. "

MESSAGES: dict[str, Message] = {
    # Keys and addresses.
    "no_key": Message(
        "Set XALORA_API_KEY=consumer#key in the environment or in a .env file, or run `xalora login`; "
        "to try without an account, use --sandbox or set XALORA_WORKFLOW_URL=sandbox.",
        what="No API key is set",
        nodes=f"Set your key in {_SETTINGS}; to try without an account, choose the sandbox there.",
    ),
    "key_needed": Message("Set {KEY}, as whoever runs it gave it to you.", what="This sequencer needs a key"),
    "key_form": Message(
        "Set {KEY} to the whole key, as you got it.", what="The API key is not in the form consumer#key"
    ),
    "key_and_server_apart": Message(
        "Set XALORA_API_KEY and XALORA_WORKFLOW_URL in the same place, or pass both as arguments: "
        "a key is sent only to the server it was set with.",
        nodes=f"Set key and server together in {_SETTINGS}: a key is sent only to the server it was set with.",
    ),
    "server_form": Message(
        "Set XALORA_WORKFLOW_URL to something like {example}, or to sandbox.",
        what="This is not the plain address of a server{reason}",
        nodes=f"In {_SETTINGS}, write it like {{example}}, or choose the sandbox.",
    ),
    "comfyui_address": Message(
        "Give the sequencer's, such as {example}.", what="That is ComfyUI's own address: {address}"
    ),
    # What the server answers.
    "status": Message("", plain="The server refused the request: {message}"),
    "bad_request": Message(
        "Correct the parameters and submit again; nothing was started.",
        plain="The server did not accept the inputs: {message}",
        nodes="Correct them and run again; nothing was started.",
    ),
    "authentication": Message("Check {KEY}.", plain="The server does not accept the key"),
    "payment_required": Message(
        "Top up the account, then submit again.",
        plain="The account does not have enough credit",
        nodes="Top up the account, then run again.",
    ),
    "permission_denied": Message(
        "Check that the key belongs to the account that owns the task or workflow.", plain="The key may not do this"
    ),
    "not_found": Message("Check the task id and {SERVER}.", plain="The server cannot find what was asked for"),
    "conflict": Message("Check the task's status before you try again.", plain="The task has moved on: {message}"),
    "rate_limit": Message("Wait a moment and try again.", plain="The server has too many requests at the moment"),
    "server_error": Message("Try again later.", plain="The server has a problem"),
    "response": Message(
        "Check that {SERVER} is the address of a Xalora sequencer.", plain="The server's answer cannot be understood"
    ),
    "not_a_sequencer": Message(
        "Check that {SERVER} is the address of a Xalora sequencer and nothing more.",
        plain="The server does not understand the request",
    ),
    "proxy_login": Message(
        "The proxy needs a user and a password: set them in HTTPS_PROXY, as http://user:password@host:port.",
        plain="A proxy on the way to the server requires a login",
    ),
    "request_too_large": Message(
        "The request is too large for this server: use smaller images, or an image's http address.",
        plain="The images are too large for this server",
        nodes="Use smaller ones.",
    ),
    "proxy_limit": Message(
        "Use smaller images, or raise the proxy's limit: in nginx, it is client_max_body_size (1 MB unless it is set).",
        plain="The images are too large for a proxy on the way to the server",
    ),
    "too_early": Message(
        "The server did not process the request yet: try again.",
        plain="The server did not process the request yet",
        nodes="Try again.",
    ),
    "https_required": Message(
        "The server requires another protocol: set {SERVER} to its https address.",
        plain="The server requires another protocol",
        nodes="Set {SERVER} to its https address.",
    ),
    "headers_too_large": Message(
        "The request's headers are too large for this server or a proxy in front of it: ask its operator.",
        plain="The server or a proxy in front of it does not take requests like this",
        nodes="Ask its operator.",
    ),
    "legal_reasons": Message(
        "The server may not answer for legal reasons: ask its operator.",
        plain="The server may not answer for legal reasons",
        nodes="Ask its operator.",
    ),
    "sign_in_to_network": Message(
        "The network requires you to sign in: open a web page in a browser, then try again.",
        plain="The network requires you to sign in",
        nodes="Open a web page in a browser, then try again.",
    ),
    "redirected": Message(
        "It redirects elsewhere, which is not followed to protect the key: check {SERVER}.",
        plain="The server is at another address",
    ),
    "redirected_to": Message(
        "It redirects to {address}: if that is right, set {SERVER} to it.", plain="The server is at another address"
    ),
    # Values.
    "image": Message("", plain="Image {image} of {images}: "),
    "invalid_parameter": Message("Allowed: {allowed}.", plain="{field} must be {allowed}; it is {value}", nodes=""),
    "prompt_missing": Message("Allowed: {allowed}.", plain="Write a prompt first", nodes=""),
    "text_missing": Message("Allowed: {allowed}.", plain="Fill in {field} first", nodes=""),
    "out_of_range": Message(
        "Allowed: {allowed}.", plain="{field} is {value}, and must be from {minimum} to {maximum}", nodes=""
    ),
    "off_step": Message("Allowed: {allowed}.", plain="{field} cannot be {value}", nodes="Use {nearest}."),
    "unknown_parameter": Message(
        "It takes: {allowed}.", plain="The workflow does not take {field}", nodes="It takes: {allowed}."
    ),
    "parameter_missing": Message("Allowed: {allowed}.", plain="The workflow needs a value for {field}"),
    "not_offered": Message("Offered are: {allowed}.", plain="No connected machine offers this workflow"),
    # The network and this machine.
    "network": replace(_UNREACHABLE, plain="The server cannot be reached"),
    "request_timeout": replace(_UNREACHABLE, plain="The server does not answer in time"),
    "certificate": Message(
        "If a proxy or company certificate is in use, set REQUESTS_CA_BUNDLE to its file.",
        plain="The connection to the server cannot be trusted",
    ),
    "proxy": Message(
        "Set HTTP_PROXY, HTTPS_PROXY or ALL_PROXY to an address like http://host:port, or unset it.",
        plain="The proxy that is set cannot be used",
    ),
    "storage": Message("Free some space or make the folder writable, or point XALORA_HOME elsewhere."),
    "ledger_damaged": Message(
        'No task that the damage may hide is sent until `xalora repair --home "{folder}"` has saved what can be read.',
        nodes='No task that the damage may hide is sent until the command "xalora repair" has saved what can be read. '
        "Then check the Xalora tab.",
    ),
    "disk_nearly_full": Message(
        "Free some space, or run `xalora prune`, or point XALORA_HOME elsewhere.",
        nodes=f"Free some space, or allow less space for results in {_SETTINGS}, or point XALORA_HOME elsewhere.",
    ),
    "key_not_tried": Message("The first task will show whether it works. Check {SERVER} if it fails."),
    # Inputs on their way to the miners.
    "no_bucket": Message(
        "Set {BUCKET} to a bucket of yours, such as s3://name/prefix, or use a sequencer of your own; "
        "see “Images to the miners” in the README.",
    ),
    "input_too_large": Message(
        "Allowed: {limit} inside a create; larger images need a bucket: set {BUCKET}.",
        plain="The image is larger than {limit}",
        nodes="Use a smaller one, or set {BUCKET}.",
    ),
    "upload_damaged": Message("Try again. If it happens again, something on the way to the server changes the image."),
    "bucket_silent": Message("Check the network, the proxy and the bucket's endpoint, then try again."),
    "bucket_clock": Message("Set this machine's clock."),
    "bucket_missing": Message("Create it, or correct {BUCKET}."),
    "bucket_region": Message("Set AWS_REGION to the bucket's."),
    "bucket_full": Message(
        "Free some space: `xalora prune --bucket` removes what earlier runs left; with --home DIR, what ComfyUI left.",
        nodes="Free some space: remove what earlier runs left.",
    ),
    "bucket_refused": Message(
        "`xalora doctor` tests the bucket step by step.",
        nodes=f"Test connection in {_SETTINGS} tests the bucket step by step.",
    ),
    "bucket_credentials_s3": Message(_S3_KEYS.format(login=_OR_LOGIN), nodes=_S3_KEYS.format(login="")),
    "bucket_credentials_gs": Message(
        "Set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account that may read, write and delete there."
    ),
    "bucket_credentials_az": Message(
        "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY of an account that holds the container."
    ),
    "bucket_profile": Message(_PROFILE + _S3_KEYS.format(login=_OR_LOGIN), nodes=_PROFILE + _S3_KEYS.format(login="")),
    "bucket_stored": Message(
        "Store them again with `xalora login --bucket`.",
        nodes=f"Remove the bucket in {_SETTINGS} and set it again; its credentials then come from the environment.",
    ),
    "bucket_package": Message(
        "Run `python -m pip install obstore botocore isal`, in ComfyUI with ComfyUI's own Python."
    ),
    "inputs_stay": Message(
        "`xalora prune --bucket` removes them.",
        what="Images of tasks that have ended stay in the bucket ({count})",
        nodes="A rule of the bucket can remove them: see “Images to the miners” in the README.",
    ),
    # Creates.
    "create_unconfirmed": Message(
        "The task may have been created and charged: run it again with reuse on to continue it under its job id.",
        plain="It is not certain that the server has the task",
        nodes="It may have been created and charged: run again with reuse on to continue it.",
    ),
    "create_unconfirmed_without_ledger": Message(
        "The task may have been created and charged: look for the job in your account before you submit it again.",
        plain="It is not certain that the server has the task",
    ),
    "job_without_task": Message(
        "Look for the job in your account; to run the task and pay for it again, "
        "run `xalora tasks --forget {job_id}` first.",
        plain="The server has this task of an earlier run, but does not say its id",
        nodes="Look for the job in your account; to run the task and pay for it again, turn reuse off for one run.",
    ),
    "task_unknown_to_server": Message(
        "To run and pay for it again, turn reuse off, or run `xalora tasks --forget {task_id}` and then the task.",
        what="An earlier run submitted this task, and the server no longer knows it: {message}",
        plain="An earlier run submitted this task, and the server no longer knows it",
        nodes="To run and pay for it again, turn reuse off for one run.",
    ),
    "submitted_elsewhere": Message(
        "Wait for that run, or run again later to continue its task.",
        what="Another run is submitting the same task and has no id yet",
    ),
    # The list of tasks.
    "not_listed": Message("Open the list again.", what="This task is not in the list"),
    "not_collected": Message("Collect the task.", what="The result is not on this machine"),
    "no_id_yet": Message(
        "Run the same task again: it continues under its job id.",
        what="The sequencer has given no id for job {job_id}",
        plain="The server has given no id for this task yet",
    ),
    "at_another_server": Message(
        f"Set that server and its key in {_SETTINGS}.",
        what="This task is at {server}, and the settings name {other}",
    ),
    # How tasks end.
    "task_failed": Message(
        "Change the parameters or submit it again as a new task.",
        plain="The task failed: {message}",
        nodes="Change the inputs or run again, as a new task.",
    ),
    "task_out_of_memory": Message(
        "The remote machine had too little memory: ask for a smaller size or fewer frames.",
        plain="The remote machine ran out of memory",
        nodes="Use a smaller size or fewer frames. This computer is not the reason.",
    ),
    "task_canceled": Message(
        "Submit it again as a new task if the result is still wanted.",
        plain="The task was canceled",
        nodes="Run again if the result is still wanted.",
    ),
    "task_timeout": Message(
        "It continues remotely: collect it later by its id, or cancel it.",
        plain="The task was not finished in time",
        nodes="It continues remotely: run again for its result, or collect it in the Xalora tab.",
    ),
    "blocked_by_prompt": Message(
        "Give the miner a ComfyUI of its own, or use nodes in this workflow that run here.",
        what="The only miner for this task uses this ComfyUI, and waits until this prompt has ended",
    ),
    # Results.
    "download": Message(
        "Fetch the task again; it is paid for, and nothing is charged again.",
        plain="The result cannot be downloaded",
        nodes="Run again: it is paid for, and nothing is charged again.",
    ),
    "link_expired": Message(
        "Fetch the task again; if that does not help, run it with reuse off, which is charged again.",
        plain="The result's link has expired",
        nodes="Run again; if that does not help, run with reuse off, which is charged again.",
    ),
    "decode": Message("", plain="The result cannot be read"),
    "media_too_large": Message(
        "Ask for fewer or smaller frames.",
        plain="The result is too large for this computer",
        library="Ask for fewer or smaller frames, or allow more with Client(limits=...).",
    ),
    "kept_media_too_large": Message(
        "Ask for fewer or smaller frames; the file is kept as {path} and not downloaded again.",
        plain="The result is too large for this computer",
        library="Ask for fewer or smaller frames, or allow more with Client(limits=...); "
        "the file is kept as {path} and not downloaded again.",
    ),
}

_NONE = Message("")


def what(code: str, params: Mapping[str, object]) -> str:
    """What happened. Empty for a code whose errors have their own text."""
    return MESSAGES.get(code, _NONE).what.format_map(params)


def plain(code: str, params: Mapping[str, object]) -> str:
    """What happened, for a user of ComfyUI. Empty where the error's own text is plain, or a param is not known."""
    text = MESSAGES.get(code, _NONE).plain
    image = MESSAGES["image"].plain if text and "image" in params else ""
    try:
        return (image + text).format_map(params)
    except KeyError:
        return ""


def has_all(code: str) -> bool:
    """Whether the words for a code say all there is, except for an error's own advice."""
    message = MESSAGES.get(code, _NONE)
    return bool(message.plain or message.what) and "{allowed}" not in message.plain


def advice(code: str, params: Mapping[str, object], surface: Surface) -> str:
    """What to do next. Empty for a code without a message."""
    message = MESSAGES.get(code, _NONE)
    own = {LIBRARY: message.library, NODES: message.nodes}.get(surface)
    text = message.advice if own is None else own
    for name, setting in (_DIALOG if surface == NODES else _VARIABLES).items():
        text = text.replace(f"{{{name}}}", setting)
    return text.format_map(params)
