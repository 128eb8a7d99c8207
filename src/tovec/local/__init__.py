"""The embedded model and its endpoint, speaking the wire format of `endpoint`."""
