"""Hard negatives: texts that a teacher finds near a query and that are no known positive of it."""
