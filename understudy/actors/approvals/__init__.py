"""Consent to tool calls: asked for, given or refused by people, and kept."""
