"""Why an ability breaks, and what moves first while a cell trains."""
