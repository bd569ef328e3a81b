"""The glioserve command."""
