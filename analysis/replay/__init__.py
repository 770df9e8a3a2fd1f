"""Pure functions of tensors, recorded once below autograd and vmap and run again as bare kernels."""
