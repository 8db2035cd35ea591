"""A model leaves this toolkit: ``python -m model_loaders.export ADAPTER OUT --format FORMAT``. One file per format."""
