"""The endpoints: they read requests, ask the queue, and write answers."""
