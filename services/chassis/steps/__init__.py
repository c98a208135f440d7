"""Around the step of an engine: who waits for it, who is told, what is owed because of it."""
