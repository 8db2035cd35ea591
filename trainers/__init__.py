"""From an ``EmbedModel`` and triplets to an adapter directory; ``train.py`` is the trainer, beside it one concept a file."""
