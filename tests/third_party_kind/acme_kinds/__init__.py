"""Product kinds of Acme: each folder is one."""
