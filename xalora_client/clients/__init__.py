"""What you call: the blocking client, the asynchronous client, and the HTTP transports they use."""
