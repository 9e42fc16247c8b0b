-- Agents and every version they ever had. A workspace chooses its agents' ids; what is global has no workspace.

CREATE TABLE agent_configs (
    key          text PRIMARY KEY,
    workspace_id text REFERENCES workspaces ON DELETE CASCADE,
    id           text NOT NULL CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    version      integer NOT NULL CHECK (version > 0),
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    deleted_at   timestamptz
);
-- An id is free again once its agent is deleted; the deleted one keeps its row and its versions.
CREATE UNIQUE INDEX agent_configs_own ON agent_configs (workspace_id, id)
    WHERE deleted_at IS NULL AND workspace_id IS NOT NULL;
CREATE UNIQUE INDEX agent_configs_global ON agent_configs (id) WHERE deleted_at IS NULL AND workspace_id IS NULL;
CREATE INDEX agent_configs_id ON agent_configs (id) WHERE deleted_at IS NULL;

-- The present version is among them. json and not jsonb: a version is read as it was written.
CREATE TABLE agent_config_versions (
    agent_key  text NOT NULL REFERENCES agent_configs ON DELETE CASCADE,
    version    integer NOT NULL CHECK (version > 0),
    id         text NOT NULL,
    config     json NOT NULL,
    label      text CHECK (length(label) <= 100),
    created_by text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (agent_key, version)
);
CREATE UNIQUE INDEX agent_config_versions_id ON agent_config_versions (id);
