"""A sequencer: the server side of the whole protocol, over real HTTP.

For now its miner is the preview, which renders real media on the CPU, plainly marked PREVIEW. Together they are the
sandbox, for trying the pack without an account, and for tests with a real server. Endpoints, bodies and answers are
those of the product's pages and of the npm package ``heurist`` 0.0.43. What the sandbox adds, and no real sequencer is
known to promise, is noted where it happens.
"""

from .in_process import close_local_sandboxes, local_sandbox
from .options import Options

__all__ = ["Options", "close_local_sandboxes", "local_sandbox"]
