-- More to remember: a graph of what is known, procedures, what a workspace shares; and vectors at hand for comparing.

ALTER TABLE memory_entries DROP CONSTRAINT memory_entries_tier_check;
ALTER TABLE memory_entries ADD CONSTRAINT memory_entries_tier_check
    CHECK (tier IN ('daily', 'notes', 'graph', 'procedural', 'workspace'));
ALTER TABLE memory_entries DROP CONSTRAINT memory_entries_category_check;
ALTER TABLE memory_entries ADD CONSTRAINT memory_entries_category_check CHECK (category ~ '^[a-z_]{1,32}$');

-- What was used last is what fades last, in the graph and among procedures.
ALTER TABLE memory_entries ADD COLUMN touched_at timestamptz;

-- Whose an entry is, and who made its vector, in one number: what one search compares is consecutive in an index. What
-- a workspace shares is nobody's.
ALTER TABLE memory_entries ADD COLUMN bucket bigint NOT NULL GENERATED ALWAYS AS (
    hashtextextended(workspace_id || '|' || CASE tier WHEN 'workspace' THEN '' ELSE uid END || '|' || embedder, 0)
) STORED;
CREATE INDEX memory_entries_shared ON memory_entries (workspace_id, position) WHERE tier = 'workspace';

-- Vectors in the form that pgvector compares, half as long, inside an index of all that a search asks of them: it then
-- reads nothing else. Repeatable: to be called again where the extension came later.
CREATE PROCEDURE memory_vectors()
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('memory vectors', 0));
    -- pgvector has this type from 0.7 on.
    IF to_regtype('halfvec') IS NOT NULL AND NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'memory_entries'::regclass AND attname = 'near' AND NOT attisdropped
    ) THEN
        ALTER TABLE memory_entries ADD COLUMN near halfvec(256) GENERATED ALWAYS AS (
            CASE WHEN array_length(embedding, 1) = 256 THEN embedding::vector(256)::halfvec(256) END
        ) STORED;
        -- Ascending, and read backwards: what is added at the end of a bucket then fills its pages.
        CREATE INDEX memory_entries_near ON memory_entries (bucket, position)
            INCLUDE (id, near, tier, created_at, expires_at) WHERE near IS NOT NULL;
    END IF;
END
$$;
CALL memory_vectors();

-- What is known of by name. The words are the entry's; the name in one form is what makes two mentions one thing.
CREATE TABLE graph_entities (
    id           text PRIMARY KEY REFERENCES memory_entries ON DELETE CASCADE,
    workspace_id text NOT NULL,
    uid          text NOT NULL,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    key          text NOT NULL,
    type         text NOT NULL
        CHECK (type IN ('person', 'team', 'event', 'concept', 'market', 'outcome', 'document')),
    mentions     integer NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX graph_entities_key ON graph_entities (uid, workspace_id, key);

CREATE TABLE graph_edges (
    source     text NOT NULL REFERENCES graph_entities ON DELETE CASCADE,
    target     text NOT NULL REFERENCES graph_entities ON DELETE CASCADE,
    relation   text NOT NULL CHECK (relation IN (
        'plays_for', 'related_to', 'caused_by', 'contradicts', 'supports', 'part_of', 'preceded_by', 'correlated_with',
        'mentioned_in', 'user_noted')),
    strength   double precision NOT NULL CHECK (strength BETWEEN 0 AND 1),
    touched_at timestamptz NOT NULL,
    PRIMARY KEY (source, target, relation),
    CHECK (source <> target)
);
CREATE INDEX graph_edges_target ON graph_edges (target);

-- How something is done: what calls for it, and the steps.
CREATE TABLE procedures (
    id              text PRIMARY KEY REFERENCES memory_entries ON DELETE CASCADE,
    workspace_id    text NOT NULL,
    uid             text NOT NULL,
    trigger_pattern text NOT NULL CHECK (length(trigger_pattern) BETWEEN 1 AND 300),
    key             text NOT NULL,
    steps           json NOT NULL,
    uses            integer NOT NULL DEFAULT 0,
    successes       integer NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX procedures_key ON procedures (uid, workspace_id, key);

-- Turns from which something was learned, or nothing: never twice.
CREATE TABLE memory_extractions (
    turn_id      text PRIMARY KEY REFERENCES turns ON DELETE CASCADE,
    workspace_id text NOT NULL,
    uid          text NOT NULL,
    learned      integer NOT NULL,
    created_at   timestamptz NOT NULL
);

-- Vectors that were paid for. The text is known by its SHA-256 only.
CREATE TABLE embeddings (
    embedder text NOT NULL,
    digest   bytea NOT NULL CHECK (length(digest) = 32),
    vector   real[] NOT NULL,
    used_at  timestamptz NOT NULL,
    PRIMARY KEY (embedder, digest)
);
CREATE INDEX embeddings_age ON embeddings USING brin (used_at);

-- What a workspace shares is for all of its members, whoever wrote it.
DROP POLICY tenant ON memory_entries;
CALL guard_tenants('memory_entries', $rule$tenant_owns(workspace_id, uid)
    OR tier = 'workspace' AND tenant_workspace() = workspace_id$rule$);
CALL guard_tenants('memory_profiles', 'tenant_workspace() = workspace_id');
CALL guard_tenants('agent_memory_profiles', 'tenant_workspace() = workspace_id');
CALL guard_tenants('graph_entities', 'tenant_owns(workspace_id, uid)');
CALL guard_tenants('graph_edges', 'EXISTS (SELECT FROM graph_entities e WHERE e.id = source)');
CALL guard_tenants('procedures', 'tenant_owns(workspace_id, uid)');
CALL guard_tenants('memory_extractions', 'tenant_owns(workspace_id, uid)');
