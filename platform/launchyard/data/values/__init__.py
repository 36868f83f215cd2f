"""One form for each value, whoever wrote it: ids, moments, numbers, texts without personal data."""
