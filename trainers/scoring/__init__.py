"""Scores of tasks while a run trains: measured, logged, drawn; the best checkpoint and an early end are chosen by them."""
