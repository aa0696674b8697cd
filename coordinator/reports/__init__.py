"""The committee's report, made from a job's public record."""
