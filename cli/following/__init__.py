"""Following tasks, jobs and runs to their end; what is told meanwhile goes to stderr."""
