-- What the agent loop keeps beside the conversation: how much of it a summary stands for, what waits for somebody's
-- consent, and how often an agent has failed in a row.

-- Messages up to this position are told to models by the session's summary; they are kept, and shown as before.
ALTER TABLE sessions ADD COLUMN compacted_position integer NOT NULL DEFAULT 0;

-- 'command': a slash command or the answer to one, which no model is told.
ALTER TABLE session_messages DROP CONSTRAINT session_messages_status_check;
ALTER TABLE session_messages ADD CONSTRAINT session_messages_status_check
    CHECK (status IN ('complete', 'cancelled', 'interrupted', 'failed', 'rolled_back', 'command'));

CREATE TABLE approvals (
    id           text PRIMARY KEY,
    workspace_id text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    uid          text NOT NULL REFERENCES users ON DELETE CASCADE,
    agent_id     text NOT NULL,
    session_id   text NOT NULL,
    turn_id      text NOT NULL,
    tool_call_id text NOT NULL,
    tool         text NOT NULL,
    arguments    text NOT NULL,
    status       text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'approved', 'denied', 'expired', 'cancelled')),
    requested_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    decided_at   timestamptz,
    decided_by   text,
    note         text,
    CHECK ((status = 'pending') = (decided_at IS NULL))
);
CREATE INDEX approvals_workspace ON approvals (workspace_id, requested_at);
CREATE INDEX approvals_uid ON approvals (uid);
CREATE INDEX approvals_pending ON approvals (session_id) WHERE status = 'pending';
CREATE INDEX approvals_age ON approvals USING brin (requested_at);

-- One row for each agent that failed the last time it ran in the workspace; none for one that did not.
CREATE TABLE agent_health (
    workspace_id text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    agent_id     text NOT NULL,
    failures     integer NOT NULL CHECK (failures > 0),
    last_error   text NOT NULL,
    failed_at    timestamptz NOT NULL,
    paused_until timestamptz,
    PRIMARY KEY (workspace_id, agent_id)
);
