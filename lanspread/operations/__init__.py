"""What is being done with games here: one operation a game, from its beginning to its event."""
