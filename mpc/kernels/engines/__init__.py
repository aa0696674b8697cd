"""The engines behind mpc.kernels.modulus, and `selection`, which takes the fastest that this processor runs."""
