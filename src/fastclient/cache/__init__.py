"""Calls that need not be made: keys, entries, and the stores that keep answers in memory, on disk and in Redis."""
