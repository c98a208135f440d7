"""Values of jobs as messages (the edge)."""
