-- What somebody said in a workspace is theirs to read for as long as they belong to it: their own statements may ask.

ALTER TABLE workspace_members ENABLE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'understudy_tenant') THEN
        GRANT SELECT ON workspace_members TO understudy_tenant;
        CREATE POLICY tenant ON workspace_members FOR SELECT TO understudy_tenant USING (tenant_uid() = uid);
    END IF;
END
$$;
