"""Jobs: cases in the queue, and the records and files that survive a restart."""
