"""Results of any origin become one table of scores."""
