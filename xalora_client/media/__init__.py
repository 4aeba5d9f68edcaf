"""What comes back: downloaded, stored by the hash of its content, and decoded into arrays."""
