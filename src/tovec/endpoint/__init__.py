"""One endpoint: client, wire format, errors, retry, limits, provider and model tables."""
