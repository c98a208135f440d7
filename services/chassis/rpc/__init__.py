"""The edge of every server: what happens around an RPC, and the services that all of them serve."""
