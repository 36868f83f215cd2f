"""Files and folders that are whole or not there, and those that a killed process left."""
