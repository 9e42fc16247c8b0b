-- What is remembered of people: a profile each, and entries in their words, with what they are found by in the same row.

-- Vectors need pgvector. A server without it, or where we may not add it, searches by words alone.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') THEN
        CREATE EXTENSION IF NOT EXISTS vector;
    END IF;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
    RAISE NOTICE 'the extension vector cannot be created: %', SQLERRM;
END
$$;

-- json and not jsonb: a profile is read in the order in which it was written.
CREATE TABLE user_profiles (
    uid        text PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    profile    json NOT NULL,
    updated_at timestamptz NOT NULL
);

-- The embedding is an array, which every server has; pgvector casts it when it compares. Only vectors of one embedder
-- can be compared, so each row names its own.
CREATE TABLE memory_entries (
    id           text PRIMARY KEY,
    position     bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    workspace_id text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    uid          text NOT NULL REFERENCES users ON DELETE CASCADE,
    tier         text NOT NULL CHECK (tier IN ('daily', 'notes')),
    day          date NOT NULL,
    category     text NOT NULL CHECK (category IN ('decision', 'outcome', 'strategy', 'note', 'interaction')),
    content      text NOT NULL CHECK (length(content) BETWEEN 1 AND 2000),
    weight       double precision NOT NULL CHECK (weight BETWEEN 0 AND 1),
    created_at   timestamptz NOT NULL,
    embedder     text NOT NULL,
    embedding    real[] NOT NULL,
    words        tsvector NOT NULL GENERATED ALWAYS AS (to_tsvector('english', content)) STORED
);
CREATE INDEX memory_entries_owner ON memory_entries (uid, workspace_id, tier, day, position);
CREATE INDEX memory_entries_workspace ON memory_entries (workspace_id);
CREATE INDEX memory_entries_words ON memory_entries USING gin (words);
