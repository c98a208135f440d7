"""`yard trigger`: runs that start by themselves, and back-fills."""
