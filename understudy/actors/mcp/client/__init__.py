"""The one place that knows the `mcp` SDK, which is an extra: imported when a server is configured, and not before."""
