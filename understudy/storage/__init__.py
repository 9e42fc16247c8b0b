"""PostgreSQL on trio."""
