"""GANs whose game has another shape, one readable file each."""
