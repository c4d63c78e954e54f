"""What peers say to each other: handshake, libraries, the peer directory, sessions, dialing."""
