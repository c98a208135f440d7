"""Seats of this node: between their trainers and their shims, with the checkpoints, ports and processes of each."""
