"""What is handed in: frameworks, files of jobs, their attachments; judged and refused. Starts nothing."""
