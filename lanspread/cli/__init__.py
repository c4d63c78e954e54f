"""The command line. `run` is the peer; everything else is a client of a running peer's API."""
