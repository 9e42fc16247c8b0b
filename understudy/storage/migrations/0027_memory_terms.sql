-- Which words are in which of a person's entries, the newest first: what a search of many entries reads instead of them.

-- What another server writes meanwhile waits for the triggers, or would be in no list.
LOCK TABLE memory_entries IN SHARE ROW EXCLUSIVE MODE;

-- One number for a shelf: whose, in which workspace, which tier. What a workspace shares is nobody's.
CREATE FUNCTION memory_shelf(workspace_id text, uid text, tier text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT hashtextextended(workspace_id || '|' || CASE tier WHEN 'workspace' THEN '' ELSE uid END || '|' || tier, 0)
$$;

-- One number for each word on a shelf.
CREATE FUNCTION memory_keys(workspace_id text, uid text, tier text, words tsvector) RETURNS SETOF bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 10 AS $$
    SELECT hashtextextended(lexeme, memory_shelf(workspace_id, uid, tier)) FROM unnest(tsvector_to_array(words)) lexeme
$$;

-- No name of a tenant in it and nothing granted: tenants' statements cannot read it at all.
CREATE TABLE memory_terms (
    key        bigint NOT NULL,
    position   bigint NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
INSERT INTO memory_terms (key, position, created_at, expires_at)
SELECT key, position, created_at, coalesce(expires_at, 'infinity')
FROM memory_entries, memory_keys(workspace_id, uid, tier, words) key ORDER BY position;
-- All that a search asks of a word, in the order in which it asks.
CREATE INDEX memory_terms_newest ON memory_terms (key, created_at, position) INCLUDE (expires_at);
CREATE UNIQUE INDEX memory_entries_position ON memory_entries (position);
DROP INDEX memory_entries_words;

-- The newest is what is read first, and an index alone answers only for pages that were vacuumed.
ALTER TABLE memory_terms SET (autovacuum_vacuum_insert_scale_factor = 0.01);
ALTER TABLE memory_entries SET (autovacuum_vacuum_insert_scale_factor = 0.01);

-- Kept by the database, in the transaction that changes the entries, whoever changes them and with whichever rights.
CREATE FUNCTION memory_terms_added() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO memory_terms (key, position, created_at, expires_at)
    SELECT key, position, created_at, coalesce(expires_at, 'infinity')
    FROM added, memory_keys(workspace_id, uid, tier, words) key;
    RETURN NULL;
END
$$;

CREATE FUNCTION memory_terms_removed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM memory_terms t USING removed r, memory_keys(r.workspace_id, r.uid, r.tier, r.words) gone
    WHERE t.key = gone AND t.created_at = r.created_at AND t.position = r.position;
    RETURN NULL;
END
$$;

CREATE FUNCTION memory_terms_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM memory_terms t USING memory_keys(OLD.workspace_id, OLD.uid, OLD.tier, OLD.words) gone
    WHERE t.key = gone AND t.created_at = OLD.created_at AND t.position = OLD.position;
    INSERT INTO memory_terms (key, position, created_at, expires_at)
    SELECT key, NEW.position, NEW.created_at, coalesce(NEW.expires_at, 'infinity')
    FROM memory_keys(NEW.workspace_id, NEW.uid, NEW.tier, NEW.words) key;
    RETURN NULL;
END
$$;

CREATE TRIGGER memory_terms_added AFTER INSERT ON memory_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION memory_terms_added();
CREATE TRIGGER memory_terms_removed AFTER DELETE ON memory_entries
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION memory_terms_removed();
-- Most changes are of weights, times of use, and vectors: they cost nothing here.
CREATE TRIGGER memory_terms_changed AFTER UPDATE ON memory_entries
    FOR EACH ROW WHEN (
        (OLD.workspace_id, OLD.uid, OLD.tier, OLD.position, OLD.created_at, OLD.expires_at, OLD.words)
        IS DISTINCT FROM
        (NEW.workspace_id, NEW.uid, NEW.tier, NEW.position, NEW.created_at, NEW.expires_at, NEW.words)
    ) EXECUTE FUNCTION memory_terms_changed();
