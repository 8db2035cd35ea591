"""The claims that a table of scores supports."""
