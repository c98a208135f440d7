"""What a task needs before it starts: fetched, built, put into its directory."""
