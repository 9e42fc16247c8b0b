-- The journal's one statement: many groups of entries, one transaction, one round trip.
--
-- Every argument is NULL or an array of objects with short names; g is the number of the group an object belongs to.
-- A group that fails (fenced: its session has another epoch; taken: its idempotency key answers to another turn)
-- leaves nothing behind, and its neighbours are not touched. Every write may be repeated: ids and sequence numbers
-- that are known are left alone.
--
-- Plans are cached from the first call on, when tables may still be empty: without the settings at the end, a
-- sequential scan chosen then would be kept for as long as nothing makes PostgreSQL look again.
CREATE FUNCTION journal_write(
    fences json, keys json, opened json, closed json, messages json, events json, touched json, audited json,
    published json, OUT fenced integer[], OUT taken integer[]
)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    failed integer[] := '{}';
    owners text[];
    ended text[] := '{}';
BEGIN
    IF fences IS NOT NULL THEN
        SELECT array_agg(DISTINCT x.s) INTO owners FROM json_to_recordset(fences) AS x(s text);
        -- In the order of ids: two journals that hold the same sessions cannot wait for each other.
        WITH held AS MATERIALIZED (
            SELECT id, epoch FROM sessions WHERE id = ANY (owners) ORDER BY id FOR NO KEY UPDATE
        )
        SELECT array_agg(DISTINCT x.g) INTO fenced
        FROM json_to_recordset(fences) AS x(g integer, s text, e bigint)
        LEFT JOIN held ON held.id = x.s
        WHERE held.epoch IS DISTINCT FROM x.e;
        failed := coalesce(fenced, failed);
    END IF;

    IF keys IS NOT NULL THEN
        DELETE FROM idempotency_keys k
        USING json_to_recordset(keys) AS x(g integer, scope text, key text, t text, at timestamptz)
        WHERE k.scope = x.scope AND k.key = x.key AND k.expires_at <= x.at AND k.turn_id IS DISTINCT FROM x.t
          AND NOT x.g = ANY (failed);
        INSERT INTO idempotency_keys (scope, key, request_hash, turn_id, created_at, expires_at)
        SELECT x.scope, x.key, decode(x.hash, 'base64'), x.t, x.at, x.until
        FROM json_to_recordset(keys)
            AS x(g integer, scope text, key text, hash text, t text, at timestamptz, until timestamptz)
        WHERE NOT x.g = ANY (failed)
        ON CONFLICT DO NOTHING;
        SELECT array_agg(DISTINCT x.g) INTO taken
        FROM json_to_recordset(keys) AS x(g integer, scope text, key text, t text)
        JOIN idempotency_keys k ON k.scope = x.scope AND k.key = x.key
        WHERE k.turn_id IS DISTINCT FROM x.t AND NOT x.g = ANY (failed);
        failed := failed || coalesce(taken, '{}');
    END IF;

    IF opened IS NOT NULL THEN
        INSERT INTO turns (id, session_id, status, first_seq, started_at)
        SELECT x.t, x.s, 'running', x.seq, x.at
        FROM json_to_recordset(opened) AS x(g integer, t text, s text, seq bigint, at timestamptz)
        WHERE NOT x.g = ANY (failed)
        ON CONFLICT (id) DO NOTHING;
    END IF;

    IF closed IS NOT NULL THEN
        WITH done AS (
            UPDATE turns t
            SET status = x.status, finished_at = x.at, content = x.content, model = x.model,
                tools_used = ARRAY(SELECT json_array_elements_text(x.tools)), prompt_tokens = x.pt,
                completion_tokens = x.ct, error_code = x.code, error_message = x.error
            FROM json_to_recordset(closed) AS x(
                g integer, t text, s text, status text, at timestamptz, content text, model text, tools json,
                pt integer, ct integer, code text, error text
            )
            WHERE t.id = x.t AND t.session_id = x.s AND t.status = 'running' AND NOT x.g = ANY (failed)
            RETURNING t.id, t.status
        ), given_back AS (
            DELETE FROM idempotency_keys k USING done WHERE k.turn_id = done.id AND done.status <> 'completed'
        )
        SELECT coalesce(array_agg(done.id), '{}') INTO ended FROM done;
    END IF;

    IF messages IS NOT NULL THEN
        WITH fresh AS MATERIALIZED (
            SELECT x.* FROM json_to_recordset(messages) AS x(
                g integer, o integer, id text, s text, t text, role text, content text, at timestamptz, status text,
                calls json, call_id text, tokens integer, closes text
            )
            WHERE NOT x.g = ANY (failed) AND (x.closes IS NULL OR x.closes = ANY (ended))
              AND NOT EXISTS (SELECT FROM session_messages known WHERE known.id = x.id)
        ), counted AS (
            SELECT fresh.s, count(*) AS added FROM fresh GROUP BY fresh.s
        ), bumped AS (
            UPDATE sessions
            SET next_position = next_position + counted.added, message_count = message_count + counted.added
            FROM counted WHERE id = counted.s
            RETURNING id, next_position - counted.added AS first
        )
        INSERT INTO session_messages
            (id, session_id, turn_id, position, role, content, status, tool_calls, tool_call_id, tokens, created_at)
        SELECT fresh.id, fresh.s, fresh.t,
               bumped.first + row_number() OVER (PARTITION BY fresh.s ORDER BY fresh.o) - 1,
               fresh.role, fresh.content, fresh.status, fresh.calls, fresh.call_id, coalesce(fresh.tokens, 0), fresh.at
        FROM fresh JOIN bumped ON bumped.id = fresh.s;
    END IF;

    IF events IS NOT NULL THEN
        INSERT INTO run_events (session_id, seq, turn_id, type, data, created_at)
        SELECT x.s, x.q, x.t, x.k, x.d, x.at
        FROM json_to_recordset(events)
            AS x(g integer, s text, q bigint, t text, k text, d json, at timestamptz)
        WHERE NOT x.g = ANY (failed)
        ON CONFLICT DO NOTHING;
    END IF;

    IF touched IS NOT NULL THEN
        WITH sums AS (
            SELECT x.s, max(x.seq) AS seq, max(x.at) AS at,
                   coalesce(sum(x.tokens) FILTER (WHERE x.closes = ANY (ended)), 0) AS tokens
            FROM json_to_recordset(touched)
                AS x(g integer, s text, seq bigint, at timestamptz, tokens bigint, closes text)
            WHERE NOT x.g = ANY (failed)
            GROUP BY x.s
        )
        UPDATE sessions
        SET last_seq = greatest(last_seq, sums.seq), last_active_at = greatest(last_active_at, sums.at),
            token_count = token_count + sums.tokens
        FROM sums WHERE id = sums.s;
    END IF;

    IF closed IS NOT NULL AND ended <> '{}' THEN
        WITH undone AS (
            UPDATE session_messages m SET status = 'rolled_back'
            FROM json_to_recordset(closed) AS x(t text, s text, undo boolean)
            WHERE x.undo AND x.t = ANY (ended) AND m.session_id = x.s AND m.turn_id = x.t
              AND m.status <> 'rolled_back'
            RETURNING m.session_id
        ), counted AS (
            SELECT undone.session_id AS s, count(*) AS gone FROM undone GROUP BY undone.session_id
        )
        UPDATE sessions SET message_count = message_count - counted.gone FROM counted WHERE id = counted.s;
    END IF;

    IF audited IS NOT NULL THEN
        PERFORM audit_append((
            SELECT coalesce(json_agg(x.a ORDER BY x.o), '[]')
            FROM json_to_recordset(audited) AS x(g integer, o integer, a json) WHERE NOT x.g = ANY (failed)
        ));
    END IF;

    IF published IS NOT NULL THEN
        INSERT INTO outbox (id, topic, workspace_id, payload, created_at)
        SELECT x.id, x.topic, x.ws, decode(x.payload, 'base64'), x.at
        FROM json_to_recordset(published)
            AS x(g integer, id text, topic text, ws text, payload text, at timestamptz)
        WHERE NOT x.g = ANY (failed)
        ON CONFLICT (id) DO NOTHING;
        -- A hint only: listeners also look by themselves.
        NOTIFY understudy_outbox;
    END IF;
END
$$;
