"""The device API: protocol v1 over HTTPS under HQ's own root."""
