"""What people are told of runs: before, while and after they run. Changes none."""
