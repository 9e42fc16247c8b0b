"""Where this node's membership lives."""

NODE = "sessions/node"
"""The address of the actor that keeps this node's lease, and hears what other nodes call."""
