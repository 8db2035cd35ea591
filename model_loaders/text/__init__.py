"""A text becomes tokens: prompts, end token, masks."""
