-- The journal's one statement: many groups of entries, one transaction, one round trip.
--
-- Every argument is NULL or an array of objects with short names; g is the number of the group an object belongs to.
-- A group that fails (fenced: its session has another epoch; taken: its idempotency key answers to another turn)
-- leaves nothing behind, and its neighbours are not touched. Every write may be repeated: ids and sequence numbers
-- that are known are left alone.
--
-- Plans are made once and kept (the settings at the end): planning anew would cost more than the work. They are made
-- when tables may still be empty, hence no sequential scans and no joins that read whole tables.
CREATE FUNCTION journal_write(
    fences json, keys json, opened json, closed json, undone json, messages json, events json, touched json,
    audited json, published json, OUT fenced integer[], OUT taken integer[]
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    failed integer[] := '{}';
    owners text[];
    ended text[] := '{}';   -- turns that this call closed
    added text[] := '{}';   -- sessions, once for each message added
BEGIN
    IF fences IS NOT NULL THEN
        SELECT array_agg(DISTINCT x.s) INTO owners FROM json_to_recordset(fences) AS x(s text);
        -- In the order of ids: two journals that hold the same sessions cannot wait for each other.
        WITH held AS MATERIALIZED (
            SELECT id, epoch FROM sessions WHERE id = ANY (owners) ORDER BY id FOR NO KEY UPDATE
        )
        SELECT array_agg(x.g) INTO fenced
        FROM json_to_recordset(fences) AS x(g integer, s text, e bigint)
        WHERE NOT EXISTS (SELECT FROM held WHERE held.id = x.s AND held.epoch = x.e);
        failed := coalesce(fenced, failed);
    END IF;

    IF keys IS NOT NULL THEN
        WITH wanted AS MATERIALIZED (
            SELECT x.* FROM json_to_recordset(keys)
                AS x(g integer, scope text, key text, hash text, t text, at timestamptz, until timestamptz)
            WHERE NOT x.g = ANY (failed)
        ), granted AS (
            INSERT INTO idempotency_keys AS k (scope, key, request_hash, turn_id, created_at, expires_at)
            SELECT DISTINCT ON (x.scope, x.key) x.scope, x.key, decode(x.hash, 'base64'), x.t, x.at, x.until
            FROM wanted x ORDER BY x.scope, x.key, x.g
            -- Ours from a former attempt, or nobody's any more.
            ON CONFLICT (scope, key) DO UPDATE
            SET request_hash = excluded.request_hash, turn_id = excluded.turn_id, status_code = NULL, body = NULL,
                created_at = excluded.created_at, expires_at = excluded.expires_at
            WHERE k.turn_id = excluded.turn_id OR k.expires_at <= excluded.created_at
            RETURNING k.turn_id
        )
        SELECT array_agg(wanted.g) INTO taken FROM wanted WHERE wanted.t NOT IN (SELECT turn_id FROM granted);
        failed := failed || coalesce(taken, '{}');
    END IF;

    IF opened IS NOT NULL THEN
        INSERT INTO turns (id, session_id, status, first_seq, started_at, idempotency_scope, idempotency_key)
        SELECT x.t, x.s, 'running', x.seq, x.at, x.scope, x.key
        FROM json_to_recordset(opened)
            AS x(g integer, t text, s text, seq bigint, at timestamptz, scope text, key text)
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
            -- By primary key: asked for the status, it would walk the index of all running turns instead.
            WHERE t.id = x.t AND t.session_id = x.s AND t.finished_at IS NULL AND NOT x.g = ANY (failed)
            RETURNING t.id
        )
        SELECT coalesce(array_agg(done.id), '{}') INTO ended FROM done;
    END IF;

    IF messages IS NOT NULL THEN
        WITH put AS (
            INSERT INTO session_messages
                (id, session_id, turn_id, position, role, content, status, tool_calls, tool_call_id, tokens, created_at)
            SELECT x.id, x.s, x.t, s.next_position + row_number() OVER (PARTITION BY x.s ORDER BY x.o) - 1,
                   x.role, x.content, x.status, x.calls, x.call_id, coalesce(x.tokens, 0), x.at
            FROM json_to_recordset(messages) AS x(
                g integer, o integer, id text, s text, t text, role text, content text, at timestamptz, status text,
                calls json, call_id text, tokens integer, closes text
            )
            JOIN sessions s ON s.id = x.s
            WHERE NOT x.g = ANY (failed) AND (x.closes IS NULL OR x.closes = ANY (ended))
              AND NOT EXISTS (SELECT FROM session_messages known WHERE known.id = x.id)
            RETURNING session_id
        )
        SELECT coalesce(array_agg(put.session_id), '{}') INTO added FROM put;
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
            SELECT x.s, max(x.seq) AS seq, max(x.at) AS at, sum(x.added)::integer AS added, sum(x.tokens) AS tokens
            FROM (
                SELECT y.s, y.seq, y.at, 0 AS added,
                       CASE WHEN y.closes = ANY (ended) THEN coalesce(y.tokens, 0) ELSE 0 END AS tokens
                FROM json_to_recordset(touched)
                    AS y(g integer, s text, seq bigint, at timestamptz, tokens bigint, closes text)
                WHERE NOT y.g = ANY (failed)
                UNION ALL
                SELECT session_id, NULL, NULL, 1, 0 FROM unnest(added) AS session_id
            ) x
            GROUP BY x.s
        )
        UPDATE sessions
        SET last_seq = greatest(last_seq, sums.seq), last_active_at = greatest(last_active_at, sums.at),
            next_position = next_position + sums.added, message_count = message_count + sums.added,
            token_count = token_count + sums.tokens
        FROM sums WHERE id = sums.s;
    END IF;

    -- Turns that ended otherwise than well: their idempotency keys are free again; what they said may be taken back.
    IF undone IS NOT NULL THEN
        DELETE FROM idempotency_keys k
        USING json_to_recordset(undone) AS x(t text), turns
        WHERE x.t = ANY (ended) AND turns.id = x.t
          AND k.scope = turns.idempotency_scope AND k.key = turns.idempotency_key AND k.turn_id = x.t;
        WITH back AS (
            UPDATE session_messages m SET status = 'rolled_back'
            FROM json_to_recordset(undone) AS x(t text, s text, messages boolean)
            WHERE x.messages AND x.t = ANY (ended) AND m.session_id = x.s AND m.turn_id = x.t
              AND m.status <> 'rolled_back'
            RETURNING m.session_id
        ), counted AS (
            SELECT back.session_id AS s, count(*) AS gone FROM back GROUP BY back.session_id
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
