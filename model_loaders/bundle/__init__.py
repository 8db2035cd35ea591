"""Offline bundles, which ``python -m study.prefetch`` makes: their list of files and its checks."""
