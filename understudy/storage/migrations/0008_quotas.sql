-- Quotas: a turn reserves what it may need in the transaction that opens it, and settles in the one that closes it. A turn
-- whose node died is closed at the next start like any other, which gives its reservations back.

-- How much of an allowance is used up and how much is spoken for, from the time that it starts: tokens, or micro-dollars.
CREATE TABLE quota_counters (
    scope    text NOT NULL,
    starts   timestamptz NOT NULL,
    used     bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    PRIMARY KEY (scope, starts)
) WITH (fillfactor = 50);
CREATE INDEX quota_counters_age ON quota_counters (starts);

CREATE TABLE quota_reservations (
    turn_id text NOT NULL,
    scope   text NOT NULL,
    starts  timestamptz NOT NULL,
    money   boolean NOT NULL,
    amount  bigint NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (turn_id, scope, starts)
);

-- As in 0005_money.sql, with the two steps above. It answers with more than it did, so it has to be made anew.
DROP FUNCTION journal_write(json, json, json, json, json, json, json, json, json, json);
CREATE FUNCTION journal_write(
    fences json, keys json, opened json, closed json, undone json, messages json, events json, touched json,
    audited json, published json, OUT fenced integer[], OUT taken integer[], OUT over integer[], OUT which integer[]
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
    wish record;
    lacking integer;
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

    -- One turn after the other, since each may take what the next one would have needed.
    IF opened IS NOT NULL THEN
        FOR wish IN
            SELECT x.* FROM json_to_recordset(opened) AS x(g integer, t text, scope text, key text, quotas json)
            WHERE x.quotas IS NOT NULL AND NOT x.g = ANY (failed) AND NOT EXISTS (SELECT FROM turns WHERE id = x.t)
        LOOP
            INSERT INTO quota_counters (scope, starts)
            SELECT q.scope, q.starts FROM json_to_recordset(wish.quotas) AS q(scope text, starts timestamptz)
            ORDER BY q.scope, q.starts
            ON CONFLICT DO NOTHING;
            -- Held until the commit: whoever else wants some of it waits, and then sees what is left.
            PERFORM FROM quota_counters c
            WHERE (c.scope, c.starts) IN (
                SELECT q.scope, q.starts FROM json_to_recordset(wish.quotas) AS q(scope text, starts timestamptz)
            )
            ORDER BY c.scope, c.starts FOR UPDATE;
            SELECT min(q.n) INTO lacking
            FROM json_to_recordset(wish.quotas) AS q(n integer, scope text, starts timestamptz, amount bigint, most bigint)
            JOIN quota_counters c ON c.scope = q.scope AND c.starts = q.starts
            WHERE c.used + c.reserved + q.amount > q.most;
            IF lacking IS NOT NULL THEN
                over := coalesce(over, '{}') || wish.g;
                which := coalesce(which, '{}') || lacking;
                failed := failed || wish.g;
                DELETE FROM idempotency_keys k
                WHERE k.scope = wish.scope AND k.key = wish.key AND k.turn_id = wish.t;
            ELSE
                UPDATE quota_counters c SET reserved = c.reserved + q.amount
                FROM json_to_recordset(wish.quotas) AS q(scope text, starts timestamptz, amount bigint)
                WHERE c.scope = q.scope AND c.starts = q.starts;
                INSERT INTO quota_reservations (turn_id, scope, starts, money, amount)
                SELECT wish.t, q.scope, q.starts, q.money, q.amount
                FROM json_to_recordset(wish.quotas)
                    AS q(scope text, starts timestamptz, amount bigint, money boolean);
            END IF;
        END LOOP;
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
        WITH closing AS MATERIALIZED (
            SELECT x.* FROM json_to_recordset(closed) AS x(
                g integer, t text, s text, status text, at timestamptz, content text, model text, tools json,
                pt integer, ct integer, code text, error text, charges json, trace json
            )
            WHERE NOT x.g = ANY (failed)
        ), done AS (
            UPDATE turns t
            SET status = x.status, finished_at = x.at, content = x.content, model = x.model,
                tools_used = ARRAY(SELECT json_array_elements_text(x.tools)), prompt_tokens = x.pt,
                completion_tokens = x.ct, error_code = x.code, error_message = x.error
            FROM closing x
            -- By primary key: asked for the status, it would walk the index of all running turns instead.
            WHERE t.id = x.t AND t.session_id = x.s AND t.finished_at IS NULL
            RETURNING t.id, t.session_id, t.started_at
        ), billed AS (
            -- Only for turns that this very call closes: however often it is written, it is billed once.
            INSERT INTO billing_usage
                (turn_id, position, workspace_id, uid, agent_id, provider, model, tools, prompt_tokens,
                 completion_tokens, cached_tokens, cost, saved, estimated, at)
            SELECT done.id, c.n, s.workspace_id, s.uid, s.agent_id, c.provider, c.model,
                   ARRAY(SELECT json_array_elements_text(c.tools)), c.pt, c.ct, coalesce(c.cached, 0), c.cost,
                   coalesce(c.saved, 0), coalesce(c.estimated, false), c.at
            FROM done
            JOIN closing x ON x.t = done.id
            JOIN sessions s ON s.id = done.session_id
            CROSS JOIN LATERAL json_to_recordset(x.charges) AS c(
                n integer, provider text, model text, tools json, pt integer, ct integer, cached integer, cost bigint,
                saved bigint, estimated boolean, at timestamptz
            )
            WHERE x.charges IS NOT NULL
            ON CONFLICT DO NOTHING
        ), traced AS (
            INSERT INTO agent_traces
                (id, turn_id, workspace_id, uid, agent_id, session_id, request_id, trace_id, parent_id, status,
                 error_code, started_at, finished_at, rounds, tool_calls, prompt_tokens, completion_tokens, cost,
                 unpriced, spans)
            SELECT r.id, done.id, s.workspace_id, s.uid, s.agent_id, s.id, r.request, r.trace, r.parent, x.status, x.code,
                   done.started_at, x.at, r.rounds, r.calls, r.pt, r.ct, r.cost, r.unpriced, r.spans
            FROM done
            JOIN closing x ON x.t = done.id
            JOIN sessions s ON s.id = done.session_id
            CROSS JOIN LATERAL json_to_record(x.trace) AS r(
                id text, request text, trace text, parent text, rounds integer, calls integer, pt integer, ct integer,
                cost bigint, unpriced boolean, spans json
            )
            WHERE x.trace IS NOT NULL
            ON CONFLICT DO NOTHING
        )
        SELECT coalesce(array_agg(done.id), '{}') INTO ended FROM done;
    END IF;

    -- Asked for by itself: where there are no quotas, that is all it costs.
    IF closed IS NOT NULL AND EXISTS (SELECT FROM quota_reservations) THEN
        WITH freed AS (
            DELETE FROM quota_reservations r WHERE r.turn_id = ANY (ended)
            RETURNING r.turn_id, r.scope, r.starts, r.money, r.amount
        ), settled AS (
            SELECT freed.scope, freed.starts, sum(freed.amount)::bigint AS amount,
                   sum(coalesce(CASE WHEN freed.money THEN x.cost ELSE x.used END, 0))::bigint AS used
            FROM freed
            JOIN (
                SELECT DISTINCT ON (y.t) y.t, y.used, y.cost
                FROM json_to_recordset(closed) AS y(g integer, t text, used bigint, cost bigint)
                WHERE NOT y.g = ANY (failed) ORDER BY y.t, y.g
            ) x ON x.t = freed.turn_id
            GROUP BY freed.scope, freed.starts
        )
        UPDATE quota_counters c SET reserved = c.reserved - settled.amount, used = c.used + settled.used
        FROM settled WHERE c.scope = settled.scope AND c.starts = settled.starts;
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
