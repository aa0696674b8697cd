"""The node as a process, and the control service that a coordinator calls. Above jobs, below commands."""
