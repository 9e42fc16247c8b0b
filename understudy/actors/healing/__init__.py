"""Agents that keep failing are left alone for a while."""
