"""Worker processes of this machine: started, spoken to, found again, ended."""
