"""What one replica holds: its model, its queues, the champion that it follows."""
