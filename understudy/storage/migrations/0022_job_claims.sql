-- As in 0010_jobs.sql, but only rows that are taken are locked: a lock is a write, and of every workspace with something
-- waiting two rows were locked to take a few. Claims come one after the other anyway; what is skipped is a job that is
-- being cancelled at this moment.
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
                   busy.n + row_number() OVER (ORDER BY first.priority DESC, first.run_at, first.id) AS place
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
