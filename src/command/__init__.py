"""From the command line to checked jobs and their output folder."""
