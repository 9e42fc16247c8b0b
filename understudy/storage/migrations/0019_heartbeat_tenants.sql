-- Heartbeats belong to their workspace; their runs and what they have seen belong to them.

CALL guard_tenants('heartbeat_configs', 'tenant_workspace() = workspace_id');
CALL guard_tenants('heartbeat_runs', 'EXISTS (SELECT FROM heartbeat_configs h WHERE h.id = heartbeat_id)');
CALL guard_tenants('heartbeat_seen', 'EXISTS (SELECT FROM heartbeat_configs h WHERE h.id = heartbeat_id)');
