"""Measurements. Each is a module with one command: ``python -m benchmarks.decode``."""
