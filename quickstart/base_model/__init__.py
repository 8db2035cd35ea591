"""The tiny base LLM: tokenizer, initial weights, pretraining text, model card."""
