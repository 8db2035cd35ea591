"""The embedded default: a corpus and tasks from the machine's own Python documentation, and a tiny base LLM."""
