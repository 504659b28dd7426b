"""What a policy-gradient update does to a policy's diversity: the package behind the book."""
