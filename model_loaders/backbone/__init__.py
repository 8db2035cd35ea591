"""The base LLM: loaded, its attention direction set, its LoRA computed."""
