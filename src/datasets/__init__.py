"""Images and labels: from files or downloads to normalized batches."""
