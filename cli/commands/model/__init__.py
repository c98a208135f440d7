"""`yard model`: components, versions, configurations, deployments and calls."""
