"""Texts of a task become vectors, once, on any number of processes."""
