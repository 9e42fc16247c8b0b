-- Heartbeats: what is looked at, when next, every look that was due, and what has been seen before.

CREATE TABLE heartbeat_configs (
    id               text PRIMARY KEY,
    workspace_id     text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    uid              text NOT NULL REFERENCES users ON DELETE CASCADE,
    document         json NOT NULL,
    interval_seconds integer NOT NULL CHECK (interval_seconds BETWEEN 300 AND 604800),
    enabled          boolean NOT NULL,
    next_run_at      timestamptz NOT NULL,
    state            json NOT NULL DEFAULT '{}',
    errors           integer NOT NULL DEFAULT 0 CHECK (errors >= 0),
    disabled_reason  text,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX heartbeat_configs_due ON heartbeat_configs (next_run_at) WHERE enabled;
CREATE INDEX heartbeat_configs_workspace ON heartbeat_configs (workspace_id, created_at);
CREATE INDEX heartbeat_configs_uid ON heartbeat_configs (uid);

-- One row for each due time, which is what keeps any from being run twice. A running one belongs to the attempt that it
-- names, for as long as that attempt renews its lease. `wake` is what the agent is to be told, from the moment on that
-- this is decided: a run that is taken over after that does not look again.
CREATE TABLE heartbeat_runs (
    id           text PRIMARY KEY,
    heartbeat_id text NOT NULL REFERENCES heartbeat_configs ON DELETE CASCADE,
    due_at       timestamptz NOT NULL,
    status       text NOT NULL CHECK (status IN ('running', 'ok', 'unchanged', 'triggered', 'error', 'skipped')),
    attempt      integer NOT NULL CHECK (attempt > 0),
    owner        text NOT NULL,
    lease_until  timestamptz NOT NULL,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    wake         json,
    http_status  integer,
    item_count   integer NOT NULL DEFAULT 0 CHECK (item_count >= 0),
    error        text,
    session_id   text,
    CHECK ((status = 'running') = (finished_at IS NULL)),
    UNIQUE (heartbeat_id, due_at)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX heartbeat_runs_running ON heartbeat_runs (heartbeat_id) WHERE status = 'running';
CREATE INDEX heartbeat_runs_leases ON heartbeat_runs (lease_until) WHERE status = 'running';

-- Keys (hashes) of the items of each feed that were listed last.
CREATE TABLE heartbeat_seen (
    heartbeat_id text NOT NULL REFERENCES heartbeat_configs ON DELETE CASCADE,
    feed         text NOT NULL,
    key          bytea NOT NULL,
    seen_at      timestamptz NOT NULL,
    PRIMARY KEY (heartbeat_id, feed, key)
);
