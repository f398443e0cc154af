"""The way of one call: layers around an attempt, and the seam to blocking callers."""
