"""Made-up studies with known differences, to check the statistics."""
