"""The node in numbers."""
