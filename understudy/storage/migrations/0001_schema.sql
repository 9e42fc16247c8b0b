-- The tables. Ids are text with a prefix; times are timestamptz, always given by the caller.

CREATE TABLE users (
    id            text PRIMARY KEY,
    email         text NOT NULL CHECK (email = lower(email)),
    password_hash text NOT NULL,
    name          text,
    token_version integer NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL,
    disabled_at   timestamptz
);
CREATE UNIQUE INDEX users_email ON users (email);

CREATE TABLE refresh_tokens (
    jti         text PRIMARY KEY,
    uid         text NOT NULL REFERENCES users ON DELETE CASCADE,
    family_id   text NOT NULL,
    token_hash  bytea NOT NULL CHECK (length(token_hash) = 32),
    issued_at   timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    rotated_at  timestamptz,
    replaced_by text,
    revoked_at  timestamptz,
    CHECK ((rotated_at IS NULL) = (replaced_by IS NULL))
);
CREATE UNIQUE INDEX refresh_tokens_hash ON refresh_tokens (token_hash);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_uid ON refresh_tokens (uid);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);

-- Failed logins, by subject ("email:…", "ip:…"): a window of failures, and how often they led to a lock.
CREATE TABLE login_lockouts (
    subject        text PRIMARY KEY,
    failures       integer NOT NULL,
    window_started timestamptz NOT NULL,
    locks          integer NOT NULL DEFAULT 0,
    locked_until   timestamptz,
    last_failure   timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX login_lockouts_age ON login_lockouts USING brin (last_failure);

CREATE TABLE workspaces (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    owner_id   text NOT NULL REFERENCES users ON DELETE RESTRICT,
    plan       text NOT NULL CHECK (plan IN ('personal', 'team', 'enterprise')),
    settings   jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL
);
CREATE INDEX workspaces_owner ON workspaces (owner_id);

CREATE TABLE workspace_members (
    workspace_id text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    uid          text NOT NULL REFERENCES users ON DELETE CASCADE,
    role         text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    joined_at    timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, uid)
);
CREATE INDEX workspace_members_uid ON workspace_members (uid);

-- Written in every turn: no index on a column that a turn changes, and room on each page, so that updates stay HOT.
CREATE TABLE sessions (
    id             text PRIMARY KEY,
    workspace_id   text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    uid            text NOT NULL REFERENCES users ON DELETE CASCADE,
    agent_id       text NOT NULL,
    surface        text NOT NULL,
    surface_id     text NOT NULL,
    status         text NOT NULL CHECK (status IN ('active', 'archived')),
    epoch          bigint NOT NULL DEFAULT 0,
    last_seq       bigint NOT NULL DEFAULT 0,
    next_position  integer NOT NULL DEFAULT 1,
    message_count  integer NOT NULL DEFAULT 0,
    token_count    bigint NOT NULL DEFAULT 0,
    summary        text,
    created_at     timestamptz NOT NULL,
    last_active_at timestamptz NOT NULL,
    archived_at    timestamptz,
    CHECK ((status = 'archived') = (archived_at IS NOT NULL))
) WITH (fillfactor = 60);
CREATE UNIQUE INDEX sessions_active_key ON sessions (uid, workspace_id, agent_id, surface, surface_id)
    WHERE status = 'active';
CREATE INDEX sessions_uid ON sessions (uid);
CREATE INDEX sessions_workspace ON sessions (workspace_id);

CREATE TABLE turns (
    id                text PRIMARY KEY,
    session_id        text NOT NULL REFERENCES sessions ON DELETE CASCADE,
    status            text NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'cancelled', 'interrupted')),
    first_seq         bigint NOT NULL,
    content           text NOT NULL DEFAULT '',
    model             text,
    tools_used        text[] NOT NULL DEFAULT '{}',
    prompt_tokens     integer NOT NULL DEFAULT 0,
    completion_tokens integer NOT NULL DEFAULT 0,
    error_code        text,
    error_message     text,
    idempotency_scope text,
    idempotency_key   text,
    started_at        timestamptz NOT NULL,
    finished_at       timestamptz,
    CHECK ((status = 'running') = (finished_at IS NULL)),
    CHECK ((idempotency_scope IS NULL) = (idempotency_key IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX turns_session ON turns (session_id);
CREATE INDEX turns_running ON turns (session_id) WHERE status = 'running';

CREATE TABLE session_messages (
    id           text PRIMARY KEY,
    session_id   text NOT NULL REFERENCES sessions ON DELETE CASCADE,
    turn_id      text,
    position     integer NOT NULL,
    role         text NOT NULL CHECK (role IN ('user', 'assistant', 'tool', 'system')),
    content      text NOT NULL,
    status       text NOT NULL
        CHECK (status IN ('complete', 'cancelled', 'interrupted', 'failed', 'rolled_back')),
    tool_calls   json,
    tool_call_id text,
    tokens       integer NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL
);
CREATE UNIQUE INDEX session_messages_position ON session_messages (session_id, position);

-- By far the most rows. The journal holds the session's row while it writes them, so that a foreign key would only
-- ask, for each one, what is known; a trigger deletes them with their session instead.
CREATE TABLE run_events (
    session_id text NOT NULL,
    seq        bigint NOT NULL CHECK (seq > 0),
    turn_id    text,
    type       text NOT NULL,
    data       json NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (session_id, seq)
);
CREATE INDEX run_events_age ON run_events USING brin (created_at);

CREATE FUNCTION delete_events_of_session() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_events WHERE session_id = OLD.id;
    RETURN OLD;
END
$$;
CREATE TRIGGER sessions_take_their_events AFTER DELETE ON sessions
    FOR EACH ROW EXECUTE FUNCTION delete_events_of_session();

CREATE TABLE idempotency_keys (
    scope        text NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    turn_id      text,
    status_code  smallint,
    body         bytea,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys USING brin (expires_at);

CREATE TABLE outbox (
    id            text PRIMARY KEY,
    topic         text NOT NULL,
    workspace_id  text,
    payload       bytea NOT NULL,
    attempts      integer NOT NULL DEFAULT 0,
    claimed_until timestamptz,
    created_at    timestamptz NOT NULL,
    done_at       timestamptz
);
CREATE INDEX outbox_waiting ON outbox (created_at, id) WHERE done_at IS NULL;
CREATE INDEX outbox_done ON outbox (done_at) WHERE done_at IS NOT NULL;

CREATE TABLE diagnostic_runs (
    id         text PRIMARY KEY,
    status     text NOT NULL,
    report     json NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX diagnostic_runs_age ON diagnostic_runs (created_at);
