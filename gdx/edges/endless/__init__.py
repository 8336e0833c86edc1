"""What a run without a horizon would see: an edge with an error bar, or none and the reason."""
