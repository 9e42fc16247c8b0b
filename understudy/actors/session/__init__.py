"""Sessions: one actor per live conversation; a turn is linked work beneath it."""
