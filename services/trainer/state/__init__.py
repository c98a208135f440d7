"""What jobs and sweeps are, what can happen to them, what is wanted: values, pure. Decides nothing."""
