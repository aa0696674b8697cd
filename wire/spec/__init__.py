"""What all parties sign: the job (`job`), its label, the terms of training that follow from it, a model in two jobs."""
