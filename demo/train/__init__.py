"""Training of the demo model on the CPU: pictures, network, loop, evaluation, export."""
