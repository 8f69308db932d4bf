"""Networks that compare pictures: LPIPS, VGG19, ArcFace, Inception."""
