-- How an agent remembers: profiles of a workspace, and which agent has which.

-- json and not jsonb: a configuration is read as it was written.
CREATE TABLE memory_profiles (
    id           text PRIMARY KEY,
    workspace_id text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    description  text,
    config       json NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    UNIQUE (workspace_id, id)
);
CREATE UNIQUE INDEX memory_profiles_name ON memory_profiles (workspace_id, name);

-- The agent may be everybody's or one of a file: there is no row of it to refer to.
CREATE TABLE agent_memory_profiles (
    workspace_id text NOT NULL,
    agent_id     text NOT NULL,
    profile_id   text NOT NULL,
    assigned_at  timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, agent_id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES memory_profiles (workspace_id, id) ON DELETE CASCADE
);
CREATE INDEX agent_memory_profiles_profile ON agent_memory_profiles (workspace_id, profile_id);

-- What an agent writes may have a time after which it is found no more.
ALTER TABLE memory_entries ADD COLUMN expires_at timestamptz;
CREATE INDEX memory_entries_expiry ON memory_entries (expires_at) WHERE expires_at IS NOT NULL;
