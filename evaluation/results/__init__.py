"""Scores of a task, with the record that makes them valid."""
