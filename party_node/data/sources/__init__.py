"""Where private tables come from: files, DuckDB, PostgreSQL, object stores; and a table in memory."""
