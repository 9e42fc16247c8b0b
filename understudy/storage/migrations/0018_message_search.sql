-- What was said is found by its words.

-- Of the first 100,000 characters: a tsvector has room for about a megabyte, and a message that is longer must be kept
-- all the same.
ALTER TABLE session_messages ADD COLUMN words tsvector NOT NULL
    GENERATED ALWAYS AS (to_tsvector('english', left(content, 100000))) STORED;
CREATE INDEX session_messages_words ON session_messages USING gin (words);
