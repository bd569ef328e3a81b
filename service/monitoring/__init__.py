"""What operators monitor: the JSON log, Prometheus metrics, and the events of jobs."""
