"""Fixtures of the contracts."""

from tests.contracts.gradients import doubling  # noqa: F401
