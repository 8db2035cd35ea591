"""Tasks: mteb's by name, and local folders."""
