"""Fixtures of the step's tests."""

from tests.contracts.gradients import doubling  # noqa: F401
