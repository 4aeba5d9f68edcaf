"""What the blocking and the asynchronous client share: their settings, opening and closing."""

from __future__ import annotations

import os
from typing import Any

from ..config import Config, load
from ..http.transport import HttpTransport
from ..ledger import Ledger
from ..media.decoding.limits import Limits
from ..media.inputs import sendable
from ..media.store import MediaStore, budget_of
from ..protocol.requests import Sequencer
from ..uploads import Uploads
from .advanced import AdvancedOptions
from .create import discard_ahead
from .sandbox import SandboxTransport
from .session import RETRY_SECONDS, Deadline, Session


class BaseClient:
    """What Client and AsyncClient have in common: their settings, and what their calls take, return and raise.

    Both define the calls. Those here only have the docstrings, which both inherit: ``help()`` and editors show them.
    """

    def __init__(
        self,
        api_key: str | None = None,
        workflow_url: str | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        ledger: bool = False,
        limits: Limits | None = None,
        retry_seconds: float = RETRY_SECONDS,
        advanced: AdvancedOptions | None = None,
    ) -> None:
        """Make a client of one sequencer. Nothing is sent yet.

        A setting that is None is taken from its first source that has one: the environment, ``.env`` in the working
        directory, the stored settings. ``config`` has the result.

        Args:
            api_key: The key, as ``consumer#key``.
            workflow_url: The sequencer's http or https address, or "sandbox" for the local one. An address that is
                neither an argument nor the default needs a key that is an argument or from the same source.
            home: The folder for the ledger, media and stored settings.
            ledger: Whether every task is written to the ledger before it is sent. A task that an earlier call with the
                same inputs created, is creating or has finished is then reused and not charged again.
            limits: The limits on downloads and decoding. None means those of ``Limits()``.
            retry_seconds: How long a single call (create, query, cancel) is tried again when a server cannot be reached
                or is overloaded. One of your own that was never reached gets 4 s.
            advanced: What few programs need. None means ``AdvancedOptions()``.

        Raises:
            ConfigurationError: No key is set, a setting has the wrong form, or the key and the address come from
                sources that do not belong together. The first call of a client for the sandbox starts it, and raises
                StorageError when it cannot use its folder.
        """
        options = advanced or AdvancedOptions()
        config = load(api_key, workflow_url, home, options.fallback_home)
        self.config: Config = config
        credentials = config.require_credentials()
        Deadline.after(retry_seconds, options.clock, "retry_seconds")  # A bad one is refused now.
        self._session: Session | None = None
        self._transport = options.transport or HttpTransport()
        if config.is_sandbox:
            self._transport = SandboxTransport(self._transport, config.home / "sandbox")
        self._store = MediaStore(config.home, budget_of(config.media_budget))
        self._limits = limits or Limits()

        def new_session(url: str) -> Session:
            session = Session(
                Sequencer(url, credentials),
                name=config.workflow_url,
                transport=self._transport,
                ledger=Ledger(config.home, config.workflow_url) if ledger else None,
                retry_seconds=retry_seconds,
                options=options,
            )
            session.uploads = Uploads(self.config, url, options.images_at_once, session.sleep, check=sendable)
            return session

        self._new_session = new_session

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workflow_url={self.config.workflow_url!r})"

    async def _opened(self) -> Session:
        """The session, made at the first call: a local sandbox has to start for it."""
        url = self.config.workflow_url
        if isinstance(self._transport, SandboxTransport):
            url = await self._transport.start()
            if self._session is not None and self._session.sequencer.url != url:  # Another program has the old port.
                await self._close()
                self._session = None
        if self._session is None:
            self._session = self._new_session(url)
        return self._session

    async def _close(self) -> None:
        session = self._session
        if session is not None:
            await discard_ahead(session)
            if session.uploads is not None:
                await session.uploads.close()
            if session.ledger is not None:
                session.ledger.close()
        await self._transport.close()

    def close(self, *_: Any, **__: Any) -> Any:
        """Close the connections and the ledger. Images that were uploaded ahead and not used are removed."""

    def run(self, *_: Any, **__: Any) -> Any:
        """Create the task, wait until it is finished, and download its media, or the first of several.

        An interruption (Ctrl-C, or an exception from ``on_update``) cancels the task remotely, unless another call of
        this process waits for it as well.

        Args:
            task: The task to create.
            to: A file or a folder that gets a copy. None leaves the file in the store of the home folder.
            timeout: Seconds to wait for the task, counted from this call. The command waits for 900 unless it is told,
                as somebody watches it, and a node as long as it gives the sequencer.
            on_update: Called with a TaskUpdate when the create has to be tried again, after it, and after each query.
                The last one has the task's end, also a bad one.
            reuse: With a ledger, continue or use an earlier task with the same inputs. False pays for a new one.

        Returns:
            The file, where it is wanted.

        Raises:
            XaloraError: As ``execute_workflow_and_wait_for_result`` and ``download`` do.
        """

    def submit(self, *_: Any, **__: Any) -> Any:
        """Create the task without waiting for its result.

        Args:
            task: The task to create.
            reuse: With a ledger, continue or use an earlier task with the same inputs. False pays for a new one.
            job_id: A name of your own for the task, such as an order's number. With a ledger it is one task, however
                often it is submitted and whatever becomes of it. None makes a new one.

        Returns:
            The task's handle.

        Raises:
            InvalidParameterError: The job id belongs to another task.
            XaloraError: As ``execute_workflow`` does.
        """

    def task(self, *_: Any, **__: Any) -> Any:
        """A handle for a task that exists. Sends nothing.

        Args:
            task_id: The task's id.

        Returns:
            The handle.
        """

    def map(self, *_: Any, **__: Any) -> Any:
        """Create many tasks, wait for them, and download their media.

        Leaving the iteration, by ``break`` or an interruption, cancels those that run. With a ledger, the same call
        again continues: what is finished is not paid for again.

        Args:
            tasks: The tasks. All are taken at once.
            at_once: How many run at a time, 1 or more.
            ordered: Yield the outcomes in the order of the tasks, instead of as they are there.
            timeout: Seconds to wait for each task.
            reuse: With a ledger, continue or use an earlier task with the same inputs. False pays for a new one.

        Yields:
            The outcome of each task. What goes wrong with one is in its outcome.

        Raises:
            ConfigurationError: ``at_once`` is less than 1.
        """

    def upload_images(self, *_: Any, **__: Any) -> Any:
        """Upload the task's images ahead of its create.

        Without this call they are uploaded by the call that creates the task. Images that are sent inside the create
        are not uploaded. With a ledger, another run with the same task then waits until this client creates it, or is
        closed.

        Args:
            task: The task. Pass the same object to the call that creates it.
            on_upload: Called with an UploadProgress as the bytes go out, from another thread.
            reuse: With a ledger, upload nothing for a task that exists or is finished.

        Raises:
            ConfigurationError: No upload method can be used, or another run has been uploading the same task for too
                long. The error says what to do.
            StorageError: The bucket refuses an image.
            InvalidParameterError: An image cannot be encoded.
            APIStatusError: The sequencer refuses an image.
            NetworkError: No complete answer came back.
        """

    def execute_workflow(self, *_: Any, **__: Any) -> Any:
        """Create the task without waiting for its result.

        It is sent again, under the same job id, only when the server certainly did not process it.

        Args:
            task: The task to create.
            on_update: Called with a TaskUpdate when the create has to be tried again, and once the task exists: its
                origin says whether an earlier task is continued.
            reuse: With a ledger, continue an earlier task with the same inputs, or use its result. False always creates
                a new task, which is charged again.

        Returns:
            The task's id.

        Raises:
            InvalidParameterError: The task cannot be sent as JSON. Nothing was sent.
            ConfigurationError: Another run is creating the same task and has no id yet.
            StorageError: The ledger cannot be used. Nothing was sent.
            APIStatusError: The server answered with a status outside 2xx.
            NetworkError: No complete answer came back.
            ResponseError: The answer is not one of the protocol.
        """

    def query_task_result(self, *_: Any, **__: Any) -> Any:
        """Query the task's status. A failed or canceled task is an answer, not an error.

        Args:
            task_id: The task's id.

        Returns:
            The server's answer, or the ledger's record of a finished task that the server no longer knows.

        Raises:
            APIStatusError: The server answered with a status outside 2xx.
            NetworkError: No complete answer came back.
            ResponseError: The answer is not one of the protocol.
        """

    def execute_workflow_and_wait_for_result(self, *_: Any, **__: Any) -> Any:
        """Create the task and wait until it is finished.

        An interruption (Ctrl-C, or an exception from ``on_update``) cancels the task remotely, unless another call of
        this process waits for it as well.

        Args:
            task: The task to create.
            timeout: Seconds to wait, counted from this call. A create in flight still gets its minute, so that its id
                is not lost.
            interval: Seconds between queries, at least 1. None adapts it: from 1 s to 8 s, or with a ledger to how long
                such tasks took before. Where the server offers it, queries then wait there for the next change.
            on_update: Called with a TaskUpdate when the create has to be tried again, after it, and after each query.
                The last one has the task's end, also a bad one.
            reuse: With a ledger, continue or use an earlier task with the same inputs. False pays for a new one.

        Returns:
            The answer about the finished task.

        Raises:
            TaskFailedError: The task failed.
            TaskCanceledError: The task was canceled.
            TaskTimeoutError: The timeout passed. The task continues remotely.
            ConfigurationError: ``timeout`` or ``interval`` is out of range. Nothing was sent.
            XaloraError: Also what ``execute_workflow`` and ``query_task_result`` raise.
        """

    def wait_for_result(self, *_: Any, **__: Any) -> Any:
        """Wait until a task that exists is finished. An interruption does not cancel it; ``cancel_task`` does.

        Args:
            task_id: The task's id.
            timeout: Seconds to wait, counted from this call.
            interval: Seconds between queries, at least 1. None adapts it: from 1 s to 8 s, or with a ledger to how long
                such tasks took before.
            on_update: Called with a TaskUpdate after each query. The last one has the task's end, also a bad one.

        Returns:
            The answer about the finished task.

        Raises:
            XaloraError: As ``execute_workflow_and_wait_for_result`` does.
        """

    def cancel_task(self, *_: Any, **__: Any) -> Any:
        """Cancel the task.

        Args:
            task_id: The task's id.

        Returns:
            The server's message, in one line.

        Raises:
            XaloraError: As ``query_task_result`` does.
        """

    def resource_request(self, *_: Any, **__: Any) -> Any:
        """Ask for a miner.

        Args:
            consumer_id: Whose miner it is. None means the client's own consumer.
            workflow_id: The workflow that the miner should run. None sends none.
            task_type: The kind of task that the miner should take, such as "txt2vid". None sends none.

        Returns:
            The miner's id.

        Raises:
            XaloraError: As ``query_task_result`` does.
        """

    def workflows(self, *_: Any, **__: Any) -> Any:
        """List what the server's connected miners run now, with the parameters that they take.

        Args:
            task_type: Only those of this kind, such as "txt2vid". None means all.
            workflow_id: Only those with this id. None means all.

        Returns:
            The workflows by name, at most 500; empty while no miner is connected. None where the server does not tell,
            as Xalora's public network.

        Raises:
            APIStatusError: The server refuses the key, or cannot answer.
            NetworkError: No complete answer came back.
        """

    def download(self, *_: Any, **__: Any) -> Any:
        """Download a finished task's media into the store in the home folder, and check it.

        The file stays there for at least an hour after its last use. What is there already is not downloaded again.

        Args:
            result: The answer about the finished task.
            on_progress: Called with a DownloadProgress after each piece.

        Returns:
            The file and what it contains.

        Raises:
            DownloadError: There is no media, or it cannot be downloaded completely.
            DecodeError: The bytes are not media. The file is kept.
            MediaTooLargeError: A limit would be exceeded.
            StorageError: The store cannot be written.
            XaloraError: The link expired, and the query for a new one failed.
        """

    def download_all(self, *_: Any, **__: Any) -> Any:
        """Download all media of a finished task: several where a workflow made a batch of pictures.

        Args:
            result: The answer about the finished task.
            on_progress: Called with a DownloadProgress after each piece of each file.
            on_file: Called with each file, before the next is downloaded.

        Returns:
            The files in their order, as ``download`` gives the first.

        Raises:
            XaloraError: As ``download`` does.
        """
