"""Skills: know-how in a folder, with the tools it needs; read from files, reloaded when they change."""
