"""How much memory a step needs, planned without running it."""
