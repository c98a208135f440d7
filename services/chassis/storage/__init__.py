"""One SQLite file of one service: its connections, its tables as they grow, its errors."""
