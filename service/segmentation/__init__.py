"""The pure core: volumes in, fused tumour masks out; no HTTP, no environment, no clock."""
