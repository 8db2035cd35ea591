"""The data check: its flags and its report."""
