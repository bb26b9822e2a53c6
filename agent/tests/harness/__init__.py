"""Real parts for the agent's tests: certificates, an HQ over HTTPS, a folder that loses power."""
