"""Multiple-choice tasks, run by lm-eval."""
