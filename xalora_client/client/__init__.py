"""What you call: the blocking and the asynchronous client, and the life of one task.

``create.py`` sends it, ``wait.py`` waits for it, ``query.py`` asks about it and cancels it, ``download.py`` brings its
media. All of it is ``async``; the blocking client runs it on an event loop in a thread (``portal.py``).
"""
