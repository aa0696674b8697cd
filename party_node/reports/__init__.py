"""A party's own part of the report, and champion against challenger. For its own eyes."""
