"""The agents' streams: messages become events, effects become messages. Decides nothing."""
