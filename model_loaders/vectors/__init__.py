"""Vectors after the pooling: unit length, fewer numbers, fewer bits."""
