"""Training on PyTorch Lightning through asteroid's ``System``."""
