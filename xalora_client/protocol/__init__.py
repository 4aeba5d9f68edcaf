"""The protocol: tasks and their parameters, requests, answers, addresses. Pure: no I/O, no clock."""
