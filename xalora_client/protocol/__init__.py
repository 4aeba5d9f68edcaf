"""What is said: tasks and their parameters, requests, answers, keys. Pure: no I/O, no clock."""
