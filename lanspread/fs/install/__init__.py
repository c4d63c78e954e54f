"""Installing, updating, uninstalling and removing a game on this disk, and repairing what a crash
left. See docs/recovery.md."""
