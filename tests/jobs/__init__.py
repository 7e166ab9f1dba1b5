"""Jobs within one process: a loop whose clock is told, a backend or an offloader that a test plays by hand."""
