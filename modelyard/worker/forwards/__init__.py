"""Local addresses that lead to wherever a peer is by now, and the process that keeps them."""
