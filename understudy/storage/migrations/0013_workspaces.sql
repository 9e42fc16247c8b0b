-- Workspaces as teams: what they restrict themselves to, and agents of one that the members of another may run.

-- All that agents may run on in the workspace; NULL is any, and an empty list is none.
ALTER TABLE workspaces ADD allowed_providers text[], ADD allowed_models text[];

-- A grant is of one agent, not of whatever has its id: one that is deleted and made anew has to be granted anew.
CREATE TABLE workspace_agent_grants (
    id                     text PRIMARY KEY,
    granting_workspace_id  text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    receiving_workspace_id text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    agent_id               text NOT NULL,
    agent_key              text NOT NULL REFERENCES agent_configs ON DELETE CASCADE,
    readonly               boolean NOT NULL DEFAULT true,
    expires_at             timestamptz,
    created_by             text NOT NULL,
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL,
    CHECK (granting_workspace_id <> receiving_workspace_id)
);
CREATE UNIQUE INDEX workspace_agent_grants_triple
    ON workspace_agent_grants (granting_workspace_id, receiving_workspace_id, agent_id);
CREATE INDEX workspace_agent_grants_received ON workspace_agent_grants (receiving_workspace_id, agent_id);
CREATE INDEX workspace_agent_grants_agent ON workspace_agent_grants (agent_key);
CREATE INDEX workspace_agent_grants_expiry ON workspace_agent_grants (expires_at) WHERE expires_at IS NOT NULL;
