"""What the service has on disk: runs, projects, what is owed to others. Decides nothing about a run that is live."""
