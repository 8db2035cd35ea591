"""What can be claimed of a table of scores."""
