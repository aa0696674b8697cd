"""The command line of one institution: the operator's commands, the analyst's, the doctor."""
