"""What holds changes back: windows, pauses, and plans that wait for a person."""
