"""What a job and its framework come to: every role as it will be, checked and previewed. Pure."""
