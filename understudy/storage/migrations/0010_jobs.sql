-- Work that is done in the background. A job belongs to whoever claimed it last, for as long as their lease; token says
-- which claim that was, and rises whenever the job changes hands, so that who was too late can change nothing.
CREATE TABLE jobs (
    id              text PRIMARY KEY,
    workspace_id    text REFERENCES workspaces ON DELETE CASCADE,
    uid             text REFERENCES users ON DELETE CASCADE,
    type            text NOT NULL CHECK (length(type) BETWEEN 1 AND 64),
    payload         json NOT NULL,
    status          text NOT NULL DEFAULT 'pending'
                    CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    priority        integer NOT NULL,
    max_retries     integer NOT NULL CHECK (max_retries >= 0),
    timeout_seconds integer NOT NULL CHECK (timeout_seconds > 0),
    dedupe_key      text,
    run_at          timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    token           bigint NOT NULL DEFAULT 0,
    worker          text,
    leased_until    timestamptz,
    started_at      timestamptz,
    finished_at     timestamptz,
    result          json,
    error_code      text,
    error_message   text,
    retryable       boolean,
    -- Asked for by the node itself in a workspace's name (what memory learns from a turn, for example): such a job is none
    -- of those that its members asked for, is not listed among these, and has turns of its own, one place behind.
    internal        boolean NOT NULL DEFAULT false,
    -- Whose turn it is: the node's own jobs take theirs like the jobs of a workspace.
    owner           text NOT NULL GENERATED ALWAYS AS (
        CASE WHEN workspace_id IS NULL THEN '' WHEN internal THEN workspace_id || ' internal' ELSE workspace_id END
    ) STORED,
    CHECK ((status = 'running') = (leased_until IS NOT NULL)),
    CHECK ((status IN ('pending', 'running')) = (finished_at IS NULL))
) WITH (fillfactor = 70);

CREATE INDEX jobs_waiting ON jobs (owner, priority DESC, run_at, id) WHERE status = 'pending';
CREATE INDEX jobs_due ON jobs (run_at) WHERE status = 'pending';
CREATE INDEX jobs_running ON jobs (owner, leased_until) WHERE status = 'running';
CREATE UNIQUE INDEX jobs_dedupe ON jobs (owner, type, dedupe_key)
    WHERE dedupe_key IS NOT NULL AND status IN ('pending', 'running');
CREATE INDEX jobs_asked_for ON jobs (workspace_id, created_at DESC, id) WHERE NOT internal;
CREATE INDEX jobs_internal ON jobs (workspace_id, finished_at) WHERE internal;
CREATE INDEX jobs_of_user ON jobs (uid);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- Give *claimant* up to *wanted* of the jobs that are due at *moment*, until *until*. No workspace has more than *share*
-- running, here and on other nodes together, and whoever has least running comes first; within a workspace it goes by
-- priority, then by time.
--
-- A function, because each of its statements sees what was committed before it: the count of what is running is made
-- after the lock is had, and so is never that of before another claim. Only rows that are taken are locked, since a lock
-- is a write; what is skipped is a job that is being cancelled at this moment.
CREATE FUNCTION jobs_claim(
    claimant text, wanted integer, share integer, moment timestamptz, until timestamptz
) RETURNS SETOF jobs
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('understudy jobs', 0));
    RETURN QUERY
    WITH RECURSIVE owners AS (
        -- Each owner of waiting jobs, found by one step in the index however many jobs they have.
        (SELECT owner FROM jobs WHERE status = 'pending' ORDER BY owner LIMIT 1)
        UNION ALL
        SELECT (
            SELECT j.owner FROM jobs j WHERE j.status = 'pending' AND j.owner > owners.owner ORDER BY j.owner LIMIT 1
        )
        FROM owners WHERE owners.owner IS NOT NULL
    ), busy AS MATERIALIZED (
        SELECT owners.owner, (SELECT count(*) FROM jobs r WHERE r.status = 'running' AND r.owner = owners.owner) AS n
        FROM owners WHERE owners.owner IS NOT NULL
    ), chosen AS MATERIALIZED (
        SELECT due.id
        FROM busy CROSS JOIN LATERAL (
            SELECT first.id, first.run_at,
                   busy.n + row_number() OVER (ORDER BY first.priority DESC, first.run_at, first.id)
                   + CASE WHEN busy.owner LIKE '% internal' THEN 1 ELSE 0 END AS place
            FROM (
                SELECT j.id, j.run_at, j.priority FROM jobs j
                WHERE j.status = 'pending' AND j.owner = busy.owner AND j.run_at <= moment
                ORDER BY j.priority DESC, j.run_at, j.id
                LIMIT CASE WHEN busy.owner = '' THEN wanted ELSE greatest(0, least(wanted, share - busy.n)) END
            ) AS first
        ) AS due
        ORDER BY due.place, due.run_at, due.id
        LIMIT wanted
    ), taken AS MATERIALIZED (
        SELECT j.id FROM jobs j WHERE j.id IN (SELECT chosen.id FROM chosen) AND j.status = 'pending'
        FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs AS claimed
    SET status = 'running', attempts = claimed.attempts + 1, token = claimed.token + 1, worker = claimant,
        leased_until = until, started_at = moment
    FROM taken WHERE claimed.id = taken.id
    RETURNING claimed.*;
END
$$;

-- For each name in the schedule, the latest due time that has been seen to.
CREATE TABLE job_schedule (
    name text PRIMARY KEY,
    due  timestamptz NOT NULL
);

-- What each model of each agent cost on each day (UTC): billing_usage, added up once the day is over.
CREATE TABLE cost_snapshots (
    day               date NOT NULL,
    workspace_id      text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    agent_id          text NOT NULL,
    provider          text NOT NULL,
    model             text NOT NULL,
    inferences        bigint NOT NULL,
    prompt_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cost              bigint NOT NULL,   -- micro-dollars
    saved             bigint NOT NULL,
    unpriced          bigint NOT NULL,   -- tokens of models that have no price: they are in no cost
    taken_at          timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, day, agent_id, provider, model)
);
CREATE INDEX cost_snapshots_day ON cost_snapshots (day);

-- The members of a workspace share its jobs; the node's own are nobody's.
CALL guard_tenants('jobs', 'tenant_workspace() = workspace_id');
CALL guard_tenants('cost_snapshots', 'tenant_workspace() = workspace_id');
