"""An offline bundle: ``python -m study.prefetch BUNDLE --models NAME … --data NAME … --tasks NAME …``."""
