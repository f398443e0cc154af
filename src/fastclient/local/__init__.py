"""A model of one's own, in this process: an engine on llama.cpp, and the ways to others."""
