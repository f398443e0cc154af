"""The slow end of the latency distribution: deadlines, retries, hedging, pacing, fallback."""
