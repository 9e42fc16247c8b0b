"""Work that is done in the background: queued in the database, each piece by an actor of its own."""
