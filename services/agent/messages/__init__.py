"""Between messages and values: what comes from the link and from workers, and what goes there. No decisions here."""
