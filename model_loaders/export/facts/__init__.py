"""Facts of a card that do not come from the model: scores, training, licences."""
