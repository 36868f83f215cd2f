"""The only modules that import Feast."""
