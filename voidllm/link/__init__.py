"""Between the control plane and its workers: what they say, and how it travels."""
