"""Understudy: a supervised home for live AI agents."""
