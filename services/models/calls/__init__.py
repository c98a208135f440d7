"""From a request to its answer: what a call says, its queue, its batch, its frame. Nothing of it is on disk."""
