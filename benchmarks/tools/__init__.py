"""What we are compared with: each moves the same folder from one process to another."""
