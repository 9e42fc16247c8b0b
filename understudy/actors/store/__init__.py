"""Storage, supervised: the embedded server, the pool, the journal, the outbox."""
