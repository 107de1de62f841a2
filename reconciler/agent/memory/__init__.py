"""What an agent remembers between passes, below its state directory."""
