"""How work flows: streaming, resumable batches, similarity scans."""
