"""Real name servers for tests: one file each, started on loopback without root, ended by process id."""
