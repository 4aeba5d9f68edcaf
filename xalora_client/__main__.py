"""``python -m xalora_client`` is the ``xalora`` command."""

from .cli import main

raise SystemExit(main())
