"""Scores of an embedder on MTEB tasks and on local task folders, in mteb's layout, per task and per item.

Call `evaluation.evaluate.evaluate`; the scripts `run_mteb.py` and `run_mteb_retrieval.py` are a command line around it.
"""
