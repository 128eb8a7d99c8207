"""The resumable job of `tovec batch`: ask for what its store lacks, then write the output."""
