"""Jobs: cases on their way through the queue, and what of them survives a restart."""
