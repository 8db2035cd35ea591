"""Memory of a training step, planned without running it."""
