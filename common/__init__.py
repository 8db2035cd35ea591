"""Errors, files, hashes, locks and words: what every room needs. Standard library, numpy and PyYAML only."""
