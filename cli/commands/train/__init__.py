"""`yard train`: frameworks, jobs, sweeps, and what is seen of them."""
