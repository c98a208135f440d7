"""The directory that `yard demo` ships to a node: a training script as a user would write it."""
