"""What you call: the blocking and the asynchronous client, and the life of one task.

``create.py`` sends it, ``wait.py`` waits for it, ``download.py`` gets its media; ``session.py`` queries and cancels it.
All of it is ``async``; the blocking client runs it on an event loop in a thread (``portal.py``).
"""
