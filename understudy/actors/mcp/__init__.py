"""MCP: servers elsewhere, each an actor, whose tools agents may be given. Only `client` knows the SDK."""
