"""HQ's faces over HTTP: one package per face, what they share in `http`."""
