-- Several servers on one database. A node is there while its lease lasts, by this database's clock alone; a session
-- belongs to the node that claimed it last, which the epoch fences off from all before. A row of before has no node,
-- and is anybody's.

CREATE TABLE nodes (
    id           text PRIMARY KEY,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease        interval NOT NULL,
    leased_until timestamptz NOT NULL
);

ALTER TABLE sessions ADD COLUMN node text;

-- While the database was down nobody could renew: from its start on each has the time of a lease to do so.
CREATE FUNCTION node_lives(wanted text) RETURNS boolean
LANGUAGE sql STABLE
RETURN EXISTS (
    SELECT FROM nodes
    WHERE id = wanted AND clock_timestamp() < greatest(leased_until, pg_postmaster_start_time() + lease)
);

-- Take a session over. The row comes back as it is then: with another node in it, a turn runs there and it was left
-- alone. No row: there is no such session. The node that loses it is told, in case it was only paused.
CREATE FUNCTION session_claim(wanted text, claimant text) RETURNS SETOF sessions
LANGUAGE plpgsql AS $$
DECLARE
    former text;
    held   bigint;
BEGIN
    -- In statements of their own: what the owner commits while we wait for the row must be seen by the next.
    SELECT s.node, s.epoch INTO former, held FROM sessions s WHERE s.id = wanted FOR NO KEY UPDATE;
    IF former <> claimant THEN
        IF node_lives(former) AND EXISTS (SELECT FROM turns t WHERE t.session_id = wanted AND t.status = 'running') THEN
            RETURN QUERY SELECT s.* FROM sessions s WHERE s.id = wanted;
            RETURN;
        END IF;
        PERFORM pg_notify('understudy_nodes', json_build_object('lost', wanted, 'node', former, 'epoch', held + 1)::text);
    END IF;
    RETURN QUERY UPDATE sessions s SET epoch = s.epoch + 1, node = claimant WHERE s.id = wanted RETURNING s.*;
END
$$;
