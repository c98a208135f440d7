"""The others of the yard: how they are reached, asked and told."""
