"""The preview miner: carries tasks out on the CPU, with pictures that are plainly marked PREVIEW."""
