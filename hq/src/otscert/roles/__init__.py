"""What one HQ process does of all that HQ does: a file per role wires its own parts; `app` starts those wanted."""
