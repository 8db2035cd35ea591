"""Files become checked triplets, and triplets become batches."""
