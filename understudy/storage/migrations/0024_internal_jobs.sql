-- Jobs that the node itself asks for in a workspace's name (what memory learns from a turn, for example) are none of those
-- that its members asked for: they are not listed among these, and have turns of their own, one place behind.
ALTER TABLE jobs ADD COLUMN internal boolean NOT NULL DEFAULT false;

-- Whose turn it is. With the column go its indexes, and come again.
ALTER TABLE jobs DROP COLUMN owner;
ALTER TABLE jobs ADD COLUMN owner text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN workspace_id IS NULL THEN '' WHEN internal THEN workspace_id || ' internal' ELSE workspace_id END
) STORED;
CREATE INDEX jobs_waiting ON jobs (owner, priority DESC, run_at, id) WHERE status = 'pending';
CREATE INDEX jobs_running ON jobs (owner, leased_until) WHERE status = 'running';
CREATE UNIQUE INDEX jobs_dedupe ON jobs (owner, type, dedupe_key)
    WHERE dedupe_key IS NOT NULL AND status IN ('pending', 'running');

DROP INDEX jobs_of_workspace;
CREATE INDEX jobs_asked_for ON jobs (workspace_id, created_at DESC, id) WHERE NOT internal;
CREATE INDEX jobs_internal ON jobs (workspace_id, finished_at) WHERE internal;

-- As in 0022_job_claims.sql, but for the place of internal jobs.
CREATE OR REPLACE FUNCTION jobs_claim(
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
