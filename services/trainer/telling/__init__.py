"""What people are told of jobs and sweeps, as they are and as they ended. Changes none."""
