"""A record of every task this machine asked for, written before it is sent, so that none is charged twice.

A task is identified by its fingerprint. ``Ledger.claim`` decides in one atomic step what to do for somebody who asks
for a task: send it, send it again under the same job id, wait for an existing task, or use an existing result.
"""

from .fingerprint import TaskIdentity
from .ledger import Claim, Ledger, Step
from .listing import Listing
from .task_record import TaskRecord

__all__ = ["Claim", "Ledger", "Listing", "Step", "TaskIdentity", "TaskRecord"]
