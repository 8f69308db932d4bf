"""Networks that judge pictures: LPIPS, VGG19, ArcFace, Inception."""
