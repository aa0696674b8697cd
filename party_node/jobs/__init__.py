"""How a job runs at a node: `runner` takes it through its stages."""
