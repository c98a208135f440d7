"""Who else is spoken with: agents about seats, the scheduler and the store. Changes no job: what comes is an event."""
