"""The report's tables and files."""
