"""The machine that the service runs on: GPU, CPUs, memory and operating system process."""
