"""Traces: how each turn went, part by part."""
