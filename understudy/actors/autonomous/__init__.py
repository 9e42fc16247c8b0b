"""Agents run by programs, on behalf of any user."""
