"""What `yard demo` shows: real work, small enough for a laptop, without a network."""
