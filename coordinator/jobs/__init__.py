"""A job from `job.toml` to its public record: plan, forecast, driver, store, and the nodes as it reaches them."""
