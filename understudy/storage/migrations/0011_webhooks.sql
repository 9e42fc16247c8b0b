-- Whom users want told of what happens, and every telling of it.

-- A secret has to be read to sign with it, so it is kept as it is (docs/decisions/0071-webhooks.md).
CREATE TABLE webhooks (
    id               text PRIMARY KEY,
    uid              text NOT NULL REFERENCES users ON DELETE CASCADE,
    workspace_id     text REFERENCES workspaces ON DELETE CASCADE,
    url              text NOT NULL CHECK (length(url) <= 2048),
    events           text[] NOT NULL CHECK (cardinality(events) > 0),
    description      text CHECK (length(description) <= 200),
    enabled          boolean NOT NULL,
    disabled_reason  text CHECK (disabled_reason IN ('gone', 'failures')),
    secret           text NOT NULL,
    old_secret       text,
    old_secret_until timestamptz,
    failures         integer NOT NULL DEFAULT 0,
    missed           bigint NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
    CHECK (disabled_reason IS NULL OR NOT enabled)
);
CREATE INDEX webhooks_uid ON webhooks (uid);
CREATE INDEX webhooks_workspace ON webhooks (workspace_id);

-- A delivery is due when next_attempt_at has come. Whoever takes it moves that into the future, which is its lease, and
-- raises claim, which is its proof: a pending one without next_attempt_at waits for something else than time (for its
-- webhook to be enabled again, for its turn to end). queue is the webhook, or the owner of what has none: an answer
-- that was asked for with its chat, whose words are those of its turn.
CREATE TABLE webhook_deliveries (
    id              text PRIMARY KEY,
    queue           text NOT NULL,
    webhook_id      text REFERENCES webhooks ON DELETE CASCADE,
    uid             text NOT NULL REFERENCES users ON DELETE CASCADE,
    event_id        text NOT NULL,
    event           text NOT NULL,
    body            text,
    turn_id         text REFERENCES turns ON DELETE CASCADE,
    url             text CHECK (length(url) <= 2048),
    status          text NOT NULL CHECK (status IN ('pending', 'success', 'failed')),
    attempts        integer NOT NULL DEFAULT 0,
    step            integer NOT NULL DEFAULT 0,
    claim           integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    response_status integer,
    duration_ms     integer,
    error           text,
    created_at      timestamptz NOT NULL,
    CHECK (status = 'pending' OR next_attempt_at IS NULL),
    CHECK ((webhook_id IS NULL) = (url IS NOT NULL)),
    CHECK ((webhook_id IS NULL) = (turn_id IS NOT NULL)),
    CHECK ((webhook_id IS NULL) = (body IS NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX webhook_deliveries_once ON webhook_deliveries (webhook_id, event_id);
CREATE UNIQUE INDEX webhook_deliveries_turn ON webhook_deliveries (turn_id, url) WHERE turn_id IS NOT NULL;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (queue, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX webhook_deliveries_soon ON webhook_deliveries (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook_id) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (turn_id)
    WHERE status = 'pending' AND next_attempt_at IS NULL AND turn_id IS NOT NULL;
CREATE INDEX webhook_deliveries_history ON webhook_deliveries (webhook_id, created_at DESC, id);
CREATE INDEX webhook_deliveries_age ON webhook_deliveries (created_at);
CREATE INDEX webhook_deliveries_uid ON webhook_deliveries (uid);
