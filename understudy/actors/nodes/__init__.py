"""This server among others on the same database."""
