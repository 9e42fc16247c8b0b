-- Entries whose vectors another embedder made than the present one are looked for every hour, and nearly always there
-- are none.
CREATE INDEX memory_entries_embedder ON memory_entries (embedder);
