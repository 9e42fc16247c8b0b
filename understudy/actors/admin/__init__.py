"""What operators look at across all tenants."""
