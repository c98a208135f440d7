"""What is decided of instances, roles and jobs: readiness, restarts, status, how instances end. Pure."""
