"""Seeing what happened: moments, timings, events, statistics."""
