"""The miner: pulls tasks from a sequencer and carries them out on a ComfyUI."""
