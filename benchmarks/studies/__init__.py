"""Questions answered on Digit Anatomy, each by a script of its own."""
