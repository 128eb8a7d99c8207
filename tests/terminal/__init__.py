"""The program on terminals, in shells and in poor environments, as real processes."""
