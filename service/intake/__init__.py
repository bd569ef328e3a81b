"""Reading untrusted uploads: archives, in a decoder process of their own."""
