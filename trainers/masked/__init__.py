"""Masked next-token prediction: texts packed into rows, masked tokens, the model with its language-model head, one step."""
