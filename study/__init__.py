"""A study: base LLMs, recipes, designs and seeds, each combination trained and scored, and a comparison.

``run_study.py study.yaml`` is the command line. A study is made of cells (one design and seed, or one baseline); a cell
runs in a process of its own, and everything it made is kept, so that a study goes on where it was stopped.
"""
