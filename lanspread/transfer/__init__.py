"""Moving a game: variants, planning, scheduling, serving, verifying."""
