-- Work beside turns (learning from them, summaries) reserves as turns do, and settles when it has ended. No start of a node
-- looks after what a killed one had reserved for it: that lapses, and is given back by whoever next wants some of the same.

ALTER TABLE quota_reservations ADD COLUMN lapses_at timestamptz;
CREATE INDEX quota_reservations_lapsing ON quota_reservations (scope, starts) WHERE lapses_at IS NOT NULL;

-- Conversations whose beginning a summary stands for, and what of it was written down: never twice.
CREATE TABLE memory_flushes (
    message_id text PRIMARY KEY REFERENCES session_messages ON DELETE CASCADE,
    written    integer NOT NULL,
    created_at timestamptz NOT NULL
);
