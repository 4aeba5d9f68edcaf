"""Media: what miners return, from bytes on disk to arrays."""
