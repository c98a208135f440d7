"""Loaded components and what is asked of them: deployments, frames on demand, the memory that they share."""
