"""What can be run: training, sampling."""
