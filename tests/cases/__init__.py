"""Inputs of users that showed a fault; each test makes its input and says what must happen."""
