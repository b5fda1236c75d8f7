"""What the kernels for the CPU share: vectors, threads, how they are compiled."""
