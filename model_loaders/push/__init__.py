"""An adapter goes to a hub, with a card: ``python -m model_loaders.push ADAPTER NAME``."""
