"""Low-rank adapters in PEFT's format (Hu et al. 2021, "LoRA", arXiv 2106.09685)."""
