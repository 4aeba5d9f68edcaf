"""The miner: pulls tasks from a sequencer and runs them on a ComfyUI."""
