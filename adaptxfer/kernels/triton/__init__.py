"""The operations as Triton kernels. Import this folder only where `adaptxfer.kernels.dispatch` chose it."""
