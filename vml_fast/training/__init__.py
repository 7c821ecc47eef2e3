"""Training of a denoiser prior on a folder of images (``vml-fast train-prior``)."""
