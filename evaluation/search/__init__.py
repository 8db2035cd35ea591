"""A search that one can look at: ``python -m evaluation.search ADAPTER --corpus FILE.jsonl``."""
