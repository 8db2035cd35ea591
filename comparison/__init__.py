"""Scores of any origin compared: what a difference is, and how sure it is. Nothing here knows of models or tasks."""
