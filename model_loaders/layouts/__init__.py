"""Adapter directories: our layout, the published one, and what is checked in each."""
