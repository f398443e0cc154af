"""Under the official SDKs: their HTTP clients, answered through our layers."""
