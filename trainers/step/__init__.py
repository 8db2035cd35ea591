"""One training step: batches, the contrastive loss and its exact gradient."""
