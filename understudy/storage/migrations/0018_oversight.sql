-- What operators have: keys of their own, a way through the audit log, and what onboarding has set up.

-- A key is known by the SHA-256 of its secret, which has 256 random bits: nothing slower would make it safer. A revoked
-- one keeps its row, so that the log's names still mean something.
CREATE TABLE internal_keys (
    id           text PRIMARY KEY,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    digest       bytea NOT NULL CHECK (length(digest) = 32),
    scopes       text[] NOT NULL CHECK (cardinality(scopes) BETWEEN 1 AND 20),
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE UNIQUE INDEX internal_keys_digest ON internal_keys (digest);
CREATE UNIQUE INDEX internal_keys_name ON internal_keys (name) WHERE revoked_at IS NULL;

CREATE INDEX audit_log_workspace ON audit_log (workspace_id, position);
CREATE INDEX audit_log_age ON audit_log USING brin (created_at);

-- Which workspace was set up for a user last: who asks again is answered with it.
CREATE TABLE onboardings (
    uid          text PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    workspace_id text NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    at           timestamptz NOT NULL
);
CREATE INDEX onboardings_workspace ON onboardings (workspace_id);
CREATE INDEX billing_usage_user ON billing_usage (uid, at);
