"""The bytes themselves: where they lie, how they come and go. Knows digests, and no account."""
