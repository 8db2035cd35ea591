"""Files as checked triplets, and triplets as batches."""
