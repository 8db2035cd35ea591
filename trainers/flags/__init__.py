"""The command line of a training run, and the configuration that it resolves to."""
