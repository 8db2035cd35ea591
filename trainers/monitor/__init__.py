"""Reports of a run about itself: metrics, collapse, values that are not finite, memory."""
