"""Making the checkpoints that the service holds; trains on what the service's own core reads and normalises."""
