"""Translation only: request to message, reply to response."""
