"""What is on disk: jobs, sweeps, curves, where logs are, what is owed to others; what goes. Decides nothing else."""
