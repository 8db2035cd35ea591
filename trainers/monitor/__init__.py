"""What a run reports of itself: metrics, collapse, values that are not finite, memory."""
