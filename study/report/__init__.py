"""The end of a study: its record, its comparison, its headline table."""
