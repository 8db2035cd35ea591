"""A small search of settings for each design on development tasks, before its training runs."""
