"""Heartbeats: feeds and pages that are looked at time and again, and agents that are woken when there is a reason."""
