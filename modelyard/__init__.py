"""What user code imports: operators, the client, and the generated contract."""
