"""What is asked of other services, and what comes back. Changes no run: what comes is an event."""
