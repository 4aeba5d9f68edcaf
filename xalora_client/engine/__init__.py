"""What is done: flows that do no I/O and yield effects, and the two drivers that perform them."""
