"""Who may call the service, and the audit log of who did."""
