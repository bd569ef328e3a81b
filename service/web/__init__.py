"""The HTTP interface: routes, uploads, problems, middleware and the server."""
