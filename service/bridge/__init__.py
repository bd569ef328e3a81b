"""The bridge between an archive (PACS) and the service: receives studies, has them segmented, and returns the results.

It is a process of its own and uses the service over HTTP only.
"""
