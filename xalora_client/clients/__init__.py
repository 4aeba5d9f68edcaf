"""What you call: the blocking client, the one for event loops, and the transports they send through."""
