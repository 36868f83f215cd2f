"""What stands between the platform and other people's systems: the only modules that import feast and kubernetes."""
