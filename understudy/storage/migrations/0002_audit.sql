-- The audit log: append-only, every line sealed with the hash of the line before.

CREATE TABLE audit_log (
    position     bigint PRIMARY KEY,
    id           text NOT NULL,
    event        text NOT NULL,
    severity     text NOT NULL,
    uid          text,
    workspace_id text,
    agent_id     text,
    session_id   text,
    request_id   text,
    metadata     jsonb NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL,
    prev_hash    bytea NOT NULL,
    hash         bytea NOT NULL
);
CREATE UNIQUE INDEX audit_log_id ON audit_log (id);
CREATE INDEX audit_log_uid ON audit_log (uid, position DESC);

-- The end of the chain. Whoever appends locks this row, so that lines are sealed one after the other.
CREATE TABLE audit_head (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    position bigint NOT NULL,
    hash     bytea NOT NULL
) WITH (fillfactor = 50);
INSERT INTO audit_head (position, hash) VALUES (0, '\x');

-- What a line's seal is made of. Times as microseconds: their text would depend on the reader's time zone.
CREATE FUNCTION audit_seal(prev_hash bytea, entry audit_log) RETURNS bytea
LANGUAGE sql STABLE AS $$
    SELECT sha256(prev_hash || convert_to(jsonb_build_array(
        entry.position, entry.id, entry.event, entry.severity, entry.uid, entry.workspace_id, entry.agent_id,
        entry.session_id, entry.request_id, entry.metadata, (extract(epoch FROM entry.created_at) * 1000000)::bigint
    )::text, 'UTF8'))
$$;

-- Appends the entries (an array of objects named as the columns), in their order; known ids are left alone.
CREATE FUNCTION audit_append(entries json) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    head audit_head;
    entry audit_log;
BEGIN
    SELECT * INTO STRICT head FROM audit_head FOR UPDATE;
    FOR entry IN
        SELECT 0, x.id, x.event, x.severity, x.uid, x.workspace_id, x.agent_id, x.session_id, x.request_id,
               coalesce(x.metadata, '{}'), x.created_at, NULL, NULL
        FROM ROWS FROM (json_to_recordset(entries) AS (
            id text, event text, severity text, uid text, workspace_id text, agent_id text, session_id text,
            request_id text, metadata jsonb, created_at timestamptz
        )) WITH ORDINALITY AS x
        ORDER BY x.ordinality
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM audit_log known WHERE known.id = entry.id);
        head.position := head.position + 1;
        entry.position := head.position;
        entry.prev_hash := head.hash;
        entry.hash := audit_seal(head.hash, entry);
        head.hash := entry.hash;
        INSERT INTO audit_log SELECT entry.*;
    END LOOP;
    UPDATE audit_head SET position = head.position, hash = head.hash;
END
$$;

CREATE FUNCTION audit_is_append_only() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
