"""Agent configurations: what an agent is, before it lives."""
