"""The second path for the bytes of games: TLS 1.3 over TCP."""
