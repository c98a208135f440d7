"""What a runtime runs in: the container or environment that fits it, and what agents make of that."""
