"""Reading untrusted uploads in a separate decoder process."""
