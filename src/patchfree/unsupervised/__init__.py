"""What tasks without labels share: statistics of a scene, scores window by window, objects and pictures of them."""
