"""A run from its configuration to its end: built, announced, trained, stopped."""
