"""Who changed what, and who was refused: noted by the interceptor, kept in a file of its own for each service."""
