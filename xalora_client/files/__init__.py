"""Files that survive crashes: moves that leave no half of a file, and locks that end with their process."""
