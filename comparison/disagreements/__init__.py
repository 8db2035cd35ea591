"""The items on which two systems differ most, and their texts."""
