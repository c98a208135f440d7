"""The RPC edge of the store: whose call it is, one call of the engine, the answer."""
