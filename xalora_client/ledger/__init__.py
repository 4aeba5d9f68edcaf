"""Every task this machine ever asked for, written down before it is asked for: the truth about money.

A task is known by its fingerprint. ``Ledger.claim`` says in one atomic step what to do about an intent: send it,
send it again under the same job id, wait for the task there is, or use the result there is.
"""

from .entry import Entry, Intent
from .ledger import Claim, Ledger, Step

__all__ = ["Claim", "Entry", "Intent", "Ledger", "Step"]
