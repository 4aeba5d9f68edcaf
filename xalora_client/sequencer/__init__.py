"""A sequencer: the other end of the wire, the whole protocol over real HTTP.

Its miner is for now the preview, which renders real media on the CPU, plainly marked PREVIEW: together they are the
sandbox, which lets anyone try the pack without an account, and gives tests a real counterpart. Endpoints, bodies and
answers are those of the product's pages and of the npm package ``heurist`` 0.0.43. What the sandbox adds of its own,
and no real sequencer is known to promise, is said where it is done.
"""

from .in_process import close_local_sandboxes, local_sandbox
from .options import Options

__all__ = ["Options", "close_local_sandboxes", "local_sandbox"]
