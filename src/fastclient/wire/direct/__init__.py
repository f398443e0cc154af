"""Our own HTTP/1.1 for LLM calls: one POST, one answer, and as little as possible around them."""
