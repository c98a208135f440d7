"""The link to the scheduler: who this node is, what it says, how messages and values become each other."""
