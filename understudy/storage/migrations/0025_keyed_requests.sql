-- A request with a key may come again without anybody knowing what became of it before: its row then stays, free to be
-- taken, with the seed that the ids of what it makes are drawn from. A claim is by name and ends by itself, for those
-- who died with it. Rows of before have no seed, and are claimed until they run out.
ALTER TABLE idempotency_keys
    ADD COLUMN seed          text,
    ADD COLUMN claimant      text,
    ADD COLUMN claimed_until timestamptz,
    ADD COLUMN doubtful      boolean NOT NULL DEFAULT false;
