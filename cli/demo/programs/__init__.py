"""The directory that `yard demo` ships to the nodes: programs as users would write them."""
