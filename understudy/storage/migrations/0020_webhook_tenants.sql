-- Webhooks, and what is delivered to them, are their owner's, whichever workspace they are for.

CALL guard_tenants('webhooks', 'tenant_uid() = uid');
CALL guard_tenants('webhook_deliveries', 'tenant_uid() = uid');
