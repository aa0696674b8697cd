"""Reports as people read them: pages, tables, drawings. Knows neither the wire nor the mathematics nor a program."""
