"""Product kinds: one package each, found by being here."""
