"""One request, however often it is sent."""
