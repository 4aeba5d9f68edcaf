"""The preview miner: runs tasks on the CPU, with images that are plainly marked PREVIEW."""
