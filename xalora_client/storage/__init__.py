"""Files on this machine: moves that survive a crash, locks between processes, SQLite."""
