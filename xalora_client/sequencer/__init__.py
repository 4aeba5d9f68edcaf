"""A sequencer on this machine: the whole protocol over real HTTP, with real media rendered on the CPU.

It lets anyone try the pack without an account, and gives tests a real counterpart. Endpoints, bodies and
answers are those of the product's pages and of the npm package ``heurist`` 0.0.43. What the sandbox adds of
its own, and no real sequencer is known to promise, is said where it is done. Pictures made from prompts are
plainly marked PREVIEW.
"""

from .in_process import close_local_sandboxes, local_sandbox
from .server import serve

__all__ = ["close_local_sandboxes", "local_sandbox", "serve"]
