"""Who calls, and whether they may: for the whole server, with a short memory."""
