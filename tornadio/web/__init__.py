"""HTTP: the request and its response on both servers, who may connect, and the handlers for scripts and policies."""
