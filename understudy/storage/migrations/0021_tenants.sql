-- The second lock for what else belongs to somebody. An agent of another workspace is there for who was granted it.

CALL guard_tenants('workspace_agent_grants', 'tenant_workspace() IN (granting_workspace_id, receiving_workspace_id)');
CALL guard_tenants('agent_configs', $rule$workspace_id IS NULL OR workspace_id = tenant_workspace()
    OR EXISTS (SELECT FROM workspace_agent_grants g
               WHERE g.agent_key = key AND g.receiving_workspace_id = tenant_workspace())$rule$);
CALL guard_tenants('agent_config_versions', 'EXISTS (SELECT FROM agent_configs a WHERE a.key = agent_key)');
CALL guard_tenants('agent_health', 'tenant_workspace() = workspace_id');
CALL guard_tenants('approvals', 'tenant_owns(workspace_id, uid)');
CALL guard_tenants('onboardings', 'tenant_uid() = uid');
