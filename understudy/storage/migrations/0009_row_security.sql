-- Row-level security: a second lock behind the one in every query. A statement made for a tenant runs as the role
-- understudy_tenant, which sees the rows of the person and the workspace that the transaction names, whatever the
-- statement forgets to ask for. The system itself (the journal, recovery, housekeeping) owns the tables and is not bound.

DO $$
BEGIN
    CREATE ROLE understudy_tenant NOLOGIN NOINHERIT;
EXCEPTION
    -- Roles belong to the whole server: another database of it may have made this one, even at this moment.
    WHEN duplicate_object OR unique_violation THEN NULL;
    -- Without it queries are guarded by their own conditions only; diagnostics say so.
    WHEN insufficient_privilege THEN RAISE WARNING 'understudy_tenant cannot be created: no row-level security';
END
$$;

-- Null: this statement is not limited to anybody.
CREATE FUNCTION tenant_uid() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('understudy.uid', true), '');

CREATE FUNCTION tenant_workspace() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('understudy.workspace', true), '');

-- Let the tenants' role use every guarded table. Repeatable: an administrator who made the role later calls it by hand.
CREATE PROCEDURE grant_tenants()
LANGUAGE plpgsql AS $$
DECLARE
    guarded regclass;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'understudy_tenant') THEN
        FOR guarded IN SELECT p.polrelid::regclass FROM pg_policy p WHERE p.polname = 'tenant' LOOP
            IF NOT has_table_privilege('understudy_tenant', guarded, 'SELECT') THEN
                EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO understudy_tenant', guarded);
            END IF;
        END LOOP;
    END IF;
END
$$;

-- Only the rows of *guarded* for which *mine* holds are there for who is not its owner. To be called for every table
-- with rows of tenants, by the migration that makes it.
CREATE PROCEDURE guard_tenants(guarded regclass, mine text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', guarded);
    EXECUTE format('CREATE POLICY tenant ON %s USING (%s) WITH CHECK (%s)', guarded, mine, mine);
    CALL grant_tenants();
END
$$;

-- Of a person in a workspace, whichever of the two the transaction names (at least one).
CREATE FUNCTION tenant_owns(workspace_id text, uid text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(tenant_uid(), tenant_workspace()) IS NOT NULL
    AND (tenant_uid() IS NULL OR tenant_uid() = uid)
    AND (tenant_workspace() IS NULL OR tenant_workspace() = workspace_id);

CALL guard_tenants('sessions', 'tenant_owns(workspace_id, uid)');
CALL guard_tenants('turns', 'EXISTS (SELECT FROM sessions s WHERE s.id = session_id)');
CALL guard_tenants('session_messages', 'EXISTS (SELECT FROM sessions s WHERE s.id = session_id)');
CALL guard_tenants('run_events', 'EXISTS (SELECT FROM sessions s WHERE s.id = session_id)');
CALL guard_tenants('idempotency_keys', 'EXISTS (SELECT FROM turns t WHERE t.id = turn_id)');
CALL guard_tenants('billing_usage', 'tenant_owns(workspace_id, uid)');
CALL guard_tenants('agent_traces', 'tenant_owns(workspace_id, uid)');
CALL guard_tenants('memory_entries', 'tenant_owns(workspace_id, uid)');
CALL guard_tenants('user_profiles', 'tenant_uid() = uid');
