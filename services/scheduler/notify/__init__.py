"""Contacts and the durable outbox: who is told how work ended, and that it arrives (S0.8)."""
