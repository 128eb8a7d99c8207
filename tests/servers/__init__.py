"""Servers that tests and benchmarks talk to: real HTTP, on loopback, with scripted faults."""
