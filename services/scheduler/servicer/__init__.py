"""The RPC edge of the scheduler, one file a gRPC service: decode, one call, encode."""
