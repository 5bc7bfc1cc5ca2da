"""What the devices say of their memory."""
