"""Webhooks: who wants to be told of what, and an actor for each that has something to deliver."""
