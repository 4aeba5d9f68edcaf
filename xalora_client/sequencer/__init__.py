"""A sequencer: the server side of the whole protocol, over real HTTP.

Miners ask it for tasks over HTTP, and run them on ComfyUIs. With the preview miner, which renders real media on
the CPU, plainly marked PREVIEW, it is the sandbox: for trying the pack without an account, and for tests with a real
server. Endpoints, bodies and answers are those of the product's pages, of the npm package ``heurist`` 0.0.43 and of the
protocol's public miner. What is added, and no other sequencer is known to promise, is noted where it happens.
"""

from .in_process import close_local_sandboxes, local_sandbox
from .options import Options, SequencerOptions

__all__ = ["Options", "SequencerOptions", "close_local_sandboxes", "local_sandbox"]
