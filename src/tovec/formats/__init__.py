"""Files in (records) and out (writers)."""
