"""What is typed, made into checked jobs, and a folder for them."""
