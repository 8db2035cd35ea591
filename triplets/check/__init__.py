"""Reports on training data: rows, lengths, exposure, and texts of an evaluation among them."""
