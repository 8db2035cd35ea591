"""Checkpoints: written whole, sealed, found again and resumed from."""
