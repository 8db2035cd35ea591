"""The corpus of docstrings: collected, cleaned, split, and made into triplets and tasks."""
