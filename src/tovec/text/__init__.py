"""Token counting and splitting."""
