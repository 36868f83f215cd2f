"""The contract between training and serving: what a bundle holds, how it is kept, how it tests itself."""
