"""Vectors at rest in a job: the framed log, its index, durable file operations."""
