"""What any program could use: text, files, processes, interrupts, logs. It knows nothing of fleets."""
