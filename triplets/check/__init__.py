"""Reports on training data: rows, lengths, and texts of an evaluation among them."""
