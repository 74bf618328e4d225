"""The routes, one module per endpoint family; model work goes through `TaskService` alone."""
