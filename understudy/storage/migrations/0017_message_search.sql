-- What was said is found by its words.

-- Of the first 100,000 characters: a tsvector has room for about a megabyte, and a message that is longer must be kept
-- all the same. No index: a search is over one person's messages, which the sessions lead to, and row-level security
-- would not let PostgreSQL ask an inverted index first (@@ is not leakproof). Every turn would pay for it all the same.
ALTER TABLE session_messages ADD COLUMN words tsvector NOT NULL
    GENERATED ALWAYS AS (to_tsvector('english', left(content, 100000))) STORED;
