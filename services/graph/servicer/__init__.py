"""The RPC edge of the graph service: decode, one call, encode."""
