"""What the commands do: take options apart, call a job, show what it gives."""
